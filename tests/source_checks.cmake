# Tests of the sources themselves: layers, sizes, format, headers that compile alone, and the tests of the scripts.
function(source_check name)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "unit;sources" SKIP_RETURN_CODE 5)
endfunction()

find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
  source_check(layers ${Python3_EXECUTABLE} scripts/check_layers.py)
  source_check(sizes ${Python3_EXECUTABLE} scripts/check_sizes.py)
  file(GLOB script_tests CONFIGURE_DEPENDS scripts/*_test.py)
  foreach(script_test ${script_tests})
    get_filename_component(name ${script_test} NAME_WE)
    source_check(scripts.${name} ${run_module} ${script_test})
  endforeach()
endif()

find_program(CLANG_FORMAT_14 clang-format-14)
if(CLANG_FORMAT_14)
  source_check(format scripts/check_format.sh)
endif()

# Built beforehand by scripts/test.sh; a minute or two otherwise.
source_check(headers_compile_alone ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR}
             --target all_verify_interface_header_sets)
set_tests_properties(headers_compile_alone PROPERTIES TIMEOUT 1800)
