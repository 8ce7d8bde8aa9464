#pragma once

#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <typeinfo>

#include "kernels/core/check.h"

// What the fuzz targets share. A target is a file NAME_fuzz.cpp that defines reads(); its seeds lie in seeds/NAME. It
// becomes a program of libFuzzer (libfuzzer_main.cpp, scripts/fuzz.sh), and a test that reads the seeds and mutations
// of them (seeds_main.cpp).
namespace engram::fuzz {

// Reads an input as the program does. True where it is taken, false where it is refused as bad input shall be; whatever
// else happens (another exception, an abort, what a sanitizer finds) is a finding.
bool reads(std::string_view input);

// Whether `call` takes its input; false where it throws a Kind. Other exceptions pass, those derived from it too: bad
// input is neither a failing disk nor a failing device.
template <class Kind = Error, class Call>
bool accepts(const Call& call) {
  try {
    call();
    return true;
  } catch (const Kind& error) {
    if (typeid(error) != typeid(Kind)) throw;
    return false;
  }
}

// Ends the program unless what must hold of an input that was taken does.
inline void must_hold(bool condition, std::string_view what) {
  if (condition) return;
  std::cerr << "does not hold: " << what << std::endl;
  std::abort();
}

}  // namespace engram::fuzz
