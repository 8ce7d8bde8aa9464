#include <nlohmann/json.hpp>

#include "data/atomic_file.h"
#include "tests/data/temporary_directory.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/manifest.h"

// MANIFEST.json of a checkpoint, as it is and with the digest that its contents have.
namespace engram::fuzz {
namespace {

using Json = nlohmann::ordered_json;

// The text with the right digest, where it is an object that can have one.
std::string with_digest(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::string(text);
  json.erase("digest");
  const std::string contents = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  json["digest"] = digest_of(std::as_bytes(std::span(contents)));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

bool reads(std::string_view input) {
  static const test::TemporaryDirectory kDirectory;
  bool is_taken = false;
  for (const std::string& text : {std::string(input), with_digest(input)}) {
    test::write_file(kDirectory / kManifestName, text);
    Manifest manifest;
    is_taken = accepts([&] { manifest = read_manifest(kDirectory.path()); });
    for (const Manifest::File& file : manifest.files) {
      must_hold(!accepts([&] { check_file(kDirectory.path(), file); }), "a file that is not there is missed");
    }
  }
  return is_taken;
}

}  // namespace engram::fuzz
