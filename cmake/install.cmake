# cmake --install: the compiler, the runtime library, headers, the CMake package, a
# pkg-config file and a man page per verb (written by the compiler from its tables).
include(CMakePackageConfigHelpers)

install(TARGETS retort RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET retort_rt_plain) # of a build with sanitizers: what users link has none
  install(TARGETS retort_rt_plain retort_host_plain ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
else()
  install(TARGETS retort_rt retort_host ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(FILES runtime/abi.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/retort)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Retort)
configure_package_config_file(cmake/RetortConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/RetortConfig.cmake
  INSTALL_DESTINATION ${package} PATH_VARS CMAKE_INSTALL_BINDIR)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/RetortConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/RetortConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/RetortConfigVersion.cmake
  cmake/RetortFunctions.cmake DESTINATION ${package})

file(RELATIVE_PATH RETORT_PC_UP /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
configure_file(cmake/retort.pc.in ${CMAKE_CURRENT_BINARY_DIR}/retort.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/retort.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(pages retort.1)
foreach(verb compile distill run verify check inspect bench opt ops passes targets man)
  list(APPEND pages retort-${verb}.1)
endforeach()
list(TRANSFORM pages PREPEND ${CMAKE_CURRENT_BINARY_DIR}/man/)
add_custom_command(OUTPUT ${pages}
  COMMAND ${CMAKE_COMMAND} -E make_directory man
  COMMAND retort man man
  DEPENDS retort
  WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
add_custom_target(man ALL DEPENDS ${pages})
install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
