# cmake --install: the program, libflame with its headers, and a package that find_package(flame) finds.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS flame_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS flame EXPORT flame_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/flame DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT flame_targets NAMESPACE flame:: FILE flame-targets.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/flame)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/flame-config.cmake.in
                              ${PROJECT_BINARY_DIR}/flame-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/flame)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/flame-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/flame-config.cmake ${PROJECT_BINARY_DIR}/flame-config-version.cmake
              ${PROJECT_SOURCE_DIR}/cmake/dependencies.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/flame)
