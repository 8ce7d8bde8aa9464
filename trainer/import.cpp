#include "trainer/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "kernels/core/device.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_tensors.h"
#include "trainer/config.h"
#include "trainer/export_layout.h"
#include "trainer/export_reader.h"

namespace engram {
namespace {

constexpr int64_t kElementsAtOnce = int64_t{4} << 20;

// "" where the tensor is as the model wants it.
std::string problem_of(const ExportReader& source, const ExportTensor& wanted) {
  const auto found = source.tensors().find(wanted.name);
  if (found == source.tensors().end()) return "is missing, wanted " + number_text(wanted.shape);
  const SafetensorsEntry& got = found->second;
  if (got.shape != wanted.shape)
    return fmt::format("is {}, wanted {}", number_text(got.shape), number_text(wanted.shape));
  if (got.dtype == DType::kFloat32 || got.dtype == DType::kBFloat16) return {};
  return fmt::format("is {}, wanted float32 or bfloat16", name_of(got.dtype));
}

// A line for each tensor that does not match.
std::string tensor_problems(const ExportReader& source, const ModelConfig& model) {
  std::string problems;
  std::set<std::string> known;
  for (const ExportTensor& tensor : export_tensors(model)) {
    known.insert(tensor.name);
    const std::string problem = problem_of(source, tensor);
    if (!problem.empty()) problems += fmt::format("\n  {}: {}", tensor.name, problem);
  }
  for (const auto& [name, entry] : source.tensors()) {
    if (!known.contains(name) && !is_hash_constant(name))
      problems += fmt::format("\n  {}: is unknown to the model", name);
  }
  return problems;
}

void check_fits(const Replica& r, const RunIdentity& identity, const ExportReader& source,
                const std::string& directory) {
  const ExportConfig saved = read_export_config(directory);
  const auto differences = config_differences(saved.run, r.config, "model.");
  ENGRAM_CHECK(differences.empty(), directory, ": is of another model: ", differences.front(), " (export -> this run)");
  ENGRAM_CHECK(saved.vocabulary_digest == identity.vocabulary_digest, directory, ": its vocabulary digest is ",
               saved.vocabulary_digest, ", this run's is ", identity.vocabulary_digest, "; wanted the same tokenizer");
  const std::string problems = tensor_problems(source, r.config.model);
  ENGRAM_CHECK(problems.empty(), directory, ": its tensors are not those of the model:", problems);
}

// Reads elements from `first` on into device memory.
void read_elements(Replica& r, ExportReader& source, const std::string& name, int64_t first, const Tensor& target) {
  const Tensor flat = target.reshape({target.numel()});
  std::vector<float> values;
  for (int64_t begin = 0; begin < flat.numel(); begin += kElementsAtOnce) {
    values.resize(static_cast<size_t>(std::min(kElementsAtOnce, flat.numel() - begin)));
    source.read(name, first + begin, values);
    const auto bad = std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
    ENGRAM_CHECK(bad == values.end(), name, ": element ", first + begin + (bad - values.begin()), " of the export is ",
                 *bad, "; wanted finite weights");
    copy(r.stream, Tensor(values.data(), DType::kFloat32, {std::ssize(values)}), flat.rows(begin, std::ssize(values)));
    synchronize(r.stream);
  }
}

void fill(Replica& r, ExportReader& source) {
  for_each_owned(r, /*weights_only=*/true, [&](const OwnedArray& array) {
    const bool is_table = array.kind == OwnedArray::Kind::kTable;
    const std::string name = is_table ? export_table_name(r.config.model, array.table) : export_name(array.parameter);
    const int64_t width = is_table ? array.all.size(1) : 1;
    for (const OwnedArray::Part& part : array.parts) read_elements(r, source, name, part.first * width, part.rows);
  });
}

bool is_export(const std::string& path) { return std::filesystem::exists(path + "/" + kExportConfigName); }

// Throws Error on all ranks where the export is of another model or tokenizer.
ExportReader open_fitting(Replica& r, const RunIdentity& identity, const std::string& directory) {
  std::optional<ExportReader> source;
  together(r.world, [&] {
    source.emplace(directory);
    check_fits(r, identity, *source, directory);
  });
  return std::move(*source);
}

}  // namespace

void load_export(Replica& r, const RunIdentity& identity, const std::string& directory) {
  ExportReader source = open_fitting(r, identity, directory);
  together(r.world, [&] { fill(r, source); });
  r.publish_weights();
}

void load_initial_weights(Replica& r, const RunIdentity& identity, const std::string& path) {
  if (is_export(path))
    load_export(r, identity, path);
  else
    load_checkpoint(r, identity, resolve_checkpoint(path), LoadScope::kWeights);
}

void check_initial_weights(Replica& r, const RunIdentity& identity, const std::string& path) {
  if (is_export(path))
    open_fitting(r, identity, path);
  else
    check_checkpoint(r, identity, resolve_checkpoint(path), LoadScope::kWeights);
}

}  // namespace engram
