# cmake -DSOURCE=DIR -DVERSION=X.Y.Z -DOUTPUT=FILE -P write_version.cmake
# Writes the functions of trainer/version.h for the commit that is checked out; leaves a file that is right untouched.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=10 --exclude=* OUTPUT_VARIABLE commit
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  set(commit unknown)
endif()
set(text "#include \"trainer/version.h\"

namespace engram {

std::string version() { return \"${VERSION}\"; }
std::string commit() { return \"${commit}\"; }

}  // namespace engram
")
set(written "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} written)
endif()
if(NOT written STREQUAL text)
  file(WRITE ${OUTPUT} "${text}")
endif()
