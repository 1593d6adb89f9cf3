# Flags every target gets: warnings as errors, hardening, sanitizers.
include(CheckCCompilerFlag)
include(CheckLinkerFlag)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

if(NOT CMAKE_BUILD_TYPE)
	set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug" FORCE)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")

add_compile_definitions(_GNU_SOURCE SLAPENIR_VERSION="${PROJECT_VERSION}")
include_directories("${CMAKE_SOURCE_DIR}")

function(slapenir_flag_if_known flag)
	string(MAKE_C_IDENTIFIER "HAVE_FLAG${flag}" known)
	check_c_compiler_flag("-Werror ${flag}" ${known})
	if(${known})
		add_compile_options(${flag})
	endif()
endfunction()

add_compile_options(-Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
	-Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wformat=2 -Wundef)

# Hardening. PIE comes from CMAKE_POSITION_INDEPENDENT_CODE and check_pie_supported().
add_compile_options(-fno-strict-aliasing -fno-delete-null-pointer-checks)
slapenir_flag_if_known(-fstack-protector-strong)
slapenir_flag_if_known(-fstack-clash-protection)
slapenir_flag_if_known(-ftrivial-auto-var-init=zero)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|i.86")
	slapenir_flag_if_known(-fcf-protection=full)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
	slapenir_flag_if_known(-mbranch-protection=standard)
endif()
add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
# wolfSSL's assembly carries no note about shadow stacks, though it only calls and returns; without
# this the linker would drop the mark from the whole program.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
	check_linker_flag(C "-Wl,-z,shstk" HAVE_LINK_SHSTK)
	if(HAVE_LINK_SHSTK)
		add_link_options(-Wl,-z,shstk)
	endif()
endif()

if(SLAPENIR_FUZZ AND NOT SLAPENIR_SANITIZE)
	set(SLAPENIR_SANITIZE "fuzzer-no-link,address,undefined")
endif()

if(SLAPENIR_SANITIZE)
	string(REPLACE ";" "," SLAPENIR_SANITIZE "${SLAPENIR_SANITIZE}")
	add_compile_options(-fsanitize=${SLAPENIR_SANITIZE} -fno-sanitize-recover=all
		-fno-omit-frame-pointer)
	add_link_options(-fsanitize=${SLAPENIR_SANITIZE})
	add_compile_definitions(SLAPENIR_SANITIZED=1)
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
	# Level 3 also guards objects whose size is known at run time only.
	if((CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_C_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
	   OR (CMAKE_C_COMPILER_ID MATCHES "Clang" AND CMAKE_C_COMPILER_VERSION VERSION_GREATER_EQUAL 12))
		add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
	else()
		add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
	endif()
	if(SLAPENIR_LTO)
		include(CheckIPOSupported)
		check_ipo_supported(RESULT lto_works LANGUAGES C)
		set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ${lto_works})
	endif()
endif()
