#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace engram {

// Calls `use` with the whole command line as it is defined: verbs, options, descriptions.
void with_command_line(const std::function<void(const CLI::App&)>& use);

}  // namespace engram
