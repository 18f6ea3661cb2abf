# The functions of find_package(Retort); RetortConfig.cmake says what they take.

function(_retort_path out path)
  get_filename_component(p "${path}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  set(${out} "${p}" PARENT_SCOPE)
endfunction()

# compile MODEL into FILE (and its header), retriggered by what was read
function(_retort_compile file byproducts model dims flags name)
  _retort_path(model "${model}")
  set(args)
  foreach(dim IN LISTS dims)
    list(APPEND args --dim ${dim})
  endforeach()
  add_custom_command(
    OUTPUT "${file}" ${byproducts}
    COMMAND Retort::retort compile "${model}" -o "${file}" --name ${name} ${args} ${flags} --depfile "${file}.d" -q
    DEPENDS "${model}" Retort::retort
    DEPFILE "${file}.d"
    COMMENT "retort: ${name} from ${model}"
    VERBATIM)
endfunction()

# The library NAME whose FILE a command writes, its header in DIR.
function(_retort_import name kind file dir)
  add_custom_target(${name}_retort DEPENDS "${file}")
  add_library(${name} ${kind} IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES
    IMPORTED_LOCATION "${file}"
    INTERFACE_INCLUDE_DIRECTORIES "${dir}"
    INTERFACE_LINK_LIBRARIES m)
  add_dependencies(${name} ${name}_retort)
endfunction()

function(retort_add_library name)
  cmake_parse_arguments(R "SHARED" "MODEL" "DIMS;FLAGS" ${ARGN})
  if(NOT R_MODEL)
    message(FATAL_ERROR "retort_add_library(${name}): MODEL is missing")
  endif()
  set(dir "${CMAKE_CURRENT_BINARY_DIR}/${name}.retort")
  file(MAKE_DIRECTORY "${dir}")
  set(kind STATIC)
  set(file "${dir}/lib${name}.a")
  if(R_SHARED)
    set(kind SHARED)
    set(file "${dir}/lib${name}.so")
  endif()
  _retort_compile("${file}" "${dir}/${name}.h" "${R_MODEL}" "${R_DIMS}" "${R_FLAGS}" ${name})
  _retort_import(${name} ${kind} "${file}" "${dir}")
endfunction()

# NAME in the build folder, copied from what retort wrote.  A stamp stands for it
# as the dependency: CMake would take a file called NAME for the target itself.
function(_retort_command name built)
  set(file "${CMAKE_CURRENT_BINARY_DIR}/${name}")
  add_custom_command(
    OUTPUT "${file}.retort/stamp"
    BYPRODUCTS "${file}"
    COMMAND ${CMAKE_COMMAND} -E copy "${built}" "${file}"
    COMMAND ${CMAKE_COMMAND} -E touch "${file}.retort/stamp"
    DEPENDS "${built}"
    VERBATIM)
  add_custom_target(${name}_retort ALL DEPENDS "${file}.retort/stamp")
  add_executable(${name} IMPORTED GLOBAL)
  set_target_properties(${name} PROPERTIES IMPORTED_LOCATION "${file}")
  add_dependencies(${name} ${name}_retort)
endfunction()

function(retort_add_executable name)
  cmake_parse_arguments(R "" "MODEL" "DIMS;FLAGS" ${ARGN})
  if(NOT R_MODEL)
    message(FATAL_ERROR "retort_add_executable(${name}): MODEL is missing")
  endif()
  set(dir "${CMAKE_CURRENT_BINARY_DIR}/${name}.retort")
  file(MAKE_DIRECTORY "${dir}")
  _retort_compile("${dir}/command" "" "${R_MODEL}" "${R_DIMS}" "${R_FLAGS};--emit=exe" ${name})
  _retort_command(${name} "${dir}/command")
endfunction()

function(retort_add_trainer name)
  cmake_parse_arguments(R "" "RECIPE" "FLAGS" ${ARGN})
  if(NOT R_RECIPE)
    message(FATAL_ERROR "retort_add_trainer(${name}): RECIPE is missing")
  endif()
  _retort_path(recipe "${R_RECIPE}")
  set(dir "${CMAKE_CURRENT_BINARY_DIR}/${name}.retort")
  add_custom_command(
    OUTPUT "${dir}/train"
    COMMAND Retort::retort distill "${recipe}" -o "${dir}" --build-only ${R_FLAGS} --depfile "${dir}/train.d" -q
    DEPENDS "${recipe}" Retort::retort
    DEPFILE "${dir}/train.d"
    COMMENT "retort: trainer ${name} from ${recipe}"
    VERBATIM)
  _retort_command(${name} "${dir}/train")
endfunction()

# NAME.h and libNAME.a (.so): one step of the recipe as C functions
function(retort_add_trainer_library name)
  cmake_parse_arguments(R "SHARED" "RECIPE" "FLAGS" ${ARGN})
  if(NOT R_RECIPE)
    message(FATAL_ERROR "retort_add_trainer_library(${name}): RECIPE is missing")
  endif()
  _retort_path(recipe "${R_RECIPE}")
  set(dir "${CMAKE_CURRENT_BINARY_DIR}/${name}.retort")
  file(MAKE_DIRECTORY "${dir}")
  set(kind STATIC)
  set(file "${dir}/lib${name}.a")
  set(emit static)
  if(R_SHARED)
    set(kind SHARED)
    set(file "${dir}/lib${name}.so")
    set(emit shared)
  endif()
  add_custom_command(
    OUTPUT "${file}" "${dir}/${name}.h"
    COMMAND Retort::retort distill "${recipe}" -o "${dir}" --build-only --emit=${emit} --name ${name} ${R_FLAGS} --depfile "${file}.d" -q
    DEPENDS "${recipe}" Retort::retort
    DEPFILE "${file}.d"
    COMMENT "retort: trainer library ${name} from ${recipe}"
    VERBATIM)
  _retort_import(${name} ${kind} "${file}" "${dir}")
endfunction()

function(retort_add_verify_test name)
  cmake_parse_arguments(R "" "" "CASES;FLAGS" ${ARGN})
  set(cases)
  foreach(case IN LISTS R_CASES)
    _retort_path(case "${case}")
    list(APPEND cases "${case}")
  endforeach()
  add_test(NAME ${name} COMMAND Retort::retort verify ${cases} ${R_FLAGS})
endfunction()
