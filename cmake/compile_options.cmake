# What every FLAME target is compiled with: an interface target, so that an installed tree does not inherit it.
add_library(flame_options INTERFACE)
target_compile_options(flame_options INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror)
target_include_directories(flame_options INTERFACE ${PROJECT_SOURCE_DIR}/src)

# GCC 12 reports members of moved-from std::optional and std::variant as uninitialised at -O3 (GCC bug 105562 and kin).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(flame_options INTERFACE -Wno-maybe-uninitialized)
endif()

# Adding or fusing products differently from build to build would break token-for-token comparisons.
target_compile_options(flame_options INTERFACE -ffp-contract=off)

if(FLAME_SANITIZE)
  target_compile_options(flame_options INTERFACE -fsanitize=${FLAME_SANITIZE} -fno-omit-frame-pointer
                                                 -fno-sanitize-recover=all)
  target_link_options(flame_options INTERFACE -fsanitize=${FLAME_SANITIZE})
endif()
