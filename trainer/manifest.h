#pragma once

#include <string>
#include <vector>

#include "trainer/checkpoint.h"

namespace engram {

// MANIFEST.json of a checkpoint.
struct Manifest {
  struct File {
    std::string name;
    int64_t num_bytes = 0;
    std::string digest;  // XXH3-128
  };
  int64_t step = 0;
  int64_t passed_batches = 0;  // Replica
  StepState::History history;
  int64_t world_size = 0;
  std::string table_optimizer;
  RunIdentity identity;
  std::vector<File> files;  // all but the manifest
};

inline constexpr const char* kManifestName = "MANIFEST.json";
inline constexpr const char* kConfigName = "config.yaml";

// Writes the manifest, with a digest of itself, as a new file that appears whole.
void write_manifest(const std::string& checkpoint, const Manifest& manifest);
// Throws Error where the file is missing, damaged, or of another format version; here and below IoError where the
// system refuses to read it, which is no damage.
Manifest read_manifest(const std::string& checkpoint);

// Throws Error unless the file is there with the size and digest that the manifest says.
void check_file(const std::string& checkpoint, const Manifest::File& file);
// The same for file i by rank i mod num_ranks: nobody reads twice what another rank has checked.
void check_files(const std::string& checkpoint, const Manifest& manifest, int rank, int num_ranks);

}  // namespace engram
