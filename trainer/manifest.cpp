#include "trainer/manifest.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "data/json_depth.h"
#include "data/json_integer.h"

namespace engram {
namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

constexpr int64_t kFormatVersion = 1;

std::string digest_of_text(const std::string& text) { return digest_of(std::as_bytes(std::span(text))); }

Json to_json(const Manifest& m) {
  Json files = Json::array();
  for (const Manifest::File& file : m.files) {
    files.push_back({{"name", file.name}, {"bytes", file.num_bytes}, {"xxh3_128", file.digest}});
  }
  return {{"format_version", kFormatVersion},
          {"step", m.step},
          {"passed_batches", m.passed_batches},
          {"applied_updates", m.history.applied_updates},
          {"spike_guard", m.history.guard},
          {"world_size", m.world_size},
          {"table_optimizer", m.table_optimizer},
          {"tokenizer_digest", m.identity.tokenizer_digest},
          {"vocabulary_digest", m.identity.vocabulary_digest},
          {"data_digest", m.identity.data_digest},
          {"files", files}};
}

Manifest from_json(const Json& json, const std::string& path) {
  const auto integer = [&](const Json& object, const char* key) {
    return json_integer(object.at(key), path + ": " + key);
  };
  Manifest m;
  m.step = integer(json, "step");
  m.passed_batches = json.contains("passed_batches") ? integer(json, "passed_batches") : 0;
  m.history = {.applied_updates = integer(json, "applied_updates"),
               .guard = json.value("spike_guard", std::vector<double>())};
  m.world_size = integer(json, "world_size");
  m.table_optimizer = json.at("table_optimizer");
  m.identity = {.tokenizer_digest = json.at("tokenizer_digest"),
                .vocabulary_digest = json.at("vocabulary_digest"),
                .data_digest = json.at("data_digest")};
  for (const Json& file : json.at("files")) {
    m.files.push_back({.name = file.at("name"), .num_bytes = integer(file, "bytes"), .digest = file.at("xxh3_128")});
    const std::string& name = m.files.back().name;
    const bool is_plain =
        name.size() < 256 && fs::path(name).filename() == name && name != "" && name != "." && name != "..";
    ENGRAM_CHECK(is_plain, path, ": lists \"", name, "\", wanted names of files without folders");
  }
  return m;
}

// Throws IoError where the system does not say.
bool is_file(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  ENGRAM_CHECK_AS(IoError, status.type() != fs::file_type::none, path, ": stat failed: ", error.message());
  return fs::is_regular_file(status);
}

}  // namespace

void write_manifest(const std::string& checkpoint, const Manifest& manifest) {
  Json json = to_json(manifest);
  json["digest"] = digest_of_text(json.dump());
  write_file_atomically(checkpoint + "/" + kManifestName, json.dump(2) + "\n");
}

Manifest read_manifest(const std::string& checkpoint) {
  const std::string path = checkpoint + "/" + kManifestName;
  ENGRAM_CHECK(is_file(path), path, ": is missing, or no file; ", checkpoint, " is not a complete checkpoint");
  const std::string text = contents_of_file(path);
  try {
    Json json = Json::parse(text, JsonDepth{path + ": "});
    const int64_t version = json_integer(json.at("format_version"), path + ": format_version");
    ENGRAM_CHECK(version == kFormatVersion, path, ": format version ", version, ", wanted ", kFormatVersion);
    const std::string digest = json.at("digest");
    json.erase("digest");
    ENGRAM_CHECK(digest == digest_of_text(json.dump()), path, ": its digest is ", digest, ", its contents have ",
                 digest_of_text(json.dump()), ": the file is damaged; use an older checkpoint");
    return from_json(json, path);
  } catch (const Json::exception& error) {
    ENGRAM_FAIL(path, ": is not a checkpoint manifest: ", error.what());
  }
}

void check_file(const std::string& checkpoint, const Manifest::File& file) {
  const std::string path = checkpoint + "/" + file.name;
  ENGRAM_CHECK(is_file(path), path, ": is missing, or no file; the manifest lists it");
  const auto num_bytes = static_cast<int64_t>(fs::file_size(path));
  ENGRAM_CHECK(num_bytes == file.num_bytes, path, ": has ", num_bytes, " bytes, the manifest says ", file.num_bytes,
               ": the file is damaged; use an older checkpoint");
  const std::string digest = digest_of_file(path);
  ENGRAM_CHECK(digest == file.digest, path, ": its digest is ", digest, ", the manifest says ", file.digest,
               ": the file is damaged; use an older checkpoint");
}

void check_files(const std::string& checkpoint, const Manifest& manifest, int rank, int num_ranks) {
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    if (static_cast<int>(i) % num_ranks == rank) check_file(checkpoint, manifest.files[i]);
  }
}

}  // namespace engram
