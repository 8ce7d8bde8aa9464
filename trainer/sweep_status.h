#pragma once

#include <string>

namespace engram {

// What `sweep status` prints of a sweep's directory: a line per trial, counts, and the time left as the trials that are
// done and the number that run let expect. Changes nothing.
std::string status_text(const std::string& directory);

}  // namespace engram
