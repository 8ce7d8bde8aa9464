#pragma once

#include <string>
#include <string_view>

namespace engram {

// A script that makes a shell complete verbs, options and the keys of --set; shell: bash, zsh or fish. Made of the
// command line and the field lists, so that it knows what they know.
std::string completion_script(std::string_view shell);

}  // namespace engram
