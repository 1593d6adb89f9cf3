# slapenir_wolfssl: the TLS library, whichever build there is.
#
# Preferred is the one that cmake/wolfssl.sh made from source (it has the assembly); its prefix is
# given by SLAPENIR_WOLFSSL_PREFIX or found in the cache by the same script. Otherwise the packaged one.
# Programs learn which from SLAPENIR_WOLFSSL_ORIGIN.
add_library(slapenir_wolfssl INTERFACE)

set(wolfssl_prefix "${SLAPENIR_WOLFSSL_PREFIX}")
if(NOT wolfssl_prefix AND EXISTS "${CMAKE_SOURCE_DIR}/cmake/wolfssl.sh")
	execute_process(COMMAND sh "${CMAKE_SOURCE_DIR}/cmake/wolfssl.sh" --find
		OUTPUT_VARIABLE wolfssl_prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()

if(wolfssl_prefix AND EXISTS "${wolfssl_prefix}/lib/libwolfssl.a")
	set(wolfssl_origin "built from source")
	if(EXISTS "${wolfssl_prefix}/BUILDINFO")
		file(STRINGS "${wolfssl_prefix}/BUILDINFO" wolfssl_info)
		foreach(line IN LISTS wolfssl_info)
			if(line MATCHES "^version=(.*)$")
				set(wolfssl_version "${CMAKE_MATCH_1}")
				set(wolfssl_origin "built from source ${wolfssl_version}")
			endif()
		endforeach()
	endif()
	target_include_directories(slapenir_wolfssl SYSTEM INTERFACE "${wolfssl_prefix}/include")
	target_link_libraries(slapenir_wolfssl INTERFACE "${wolfssl_prefix}/lib/libwolfssl.a" m
		Threads::Threads)
	set(SLAPENIR_WOLFSSL_FROM_SOURCE 1)
	message(STATUS "wolfSSL: ${wolfssl_origin} (${wolfssl_prefix})")
else()
	set(SLAPENIR_WOLFSSL_FROM_SOURCE 0)
	pkg_check_modules(WOLFSSL QUIET IMPORTED_TARGET wolfssl)
	if(WOLFSSL_FOUND)
		set(wolfssl_version "${WOLFSSL_VERSION}")
		set(wolfssl_origin "packaged ${WOLFSSL_VERSION}")
		target_link_libraries(slapenir_wolfssl INTERFACE PkgConfig::WOLFSSL m Threads::Threads)
		message(STATUS "wolfSSL: the packaged ${WOLFSSL_VERSION}, without assembly (slower); "
			"`./dev build` makes a faster one")
	else()
		set(wolfssl_version "none")
		set(wolfssl_origin "none")
		message(WARNING "wolfSSL: neither built from source nor packaged; run `./dev build`")
	endif()
endif()

# Its public headers use feature macros without defining them and cast away qualifiers.
target_compile_options(slapenir_wolfssl INTERFACE -Wno-undef)
target_compile_definitions(slapenir_wolfssl INTERFACE
	WOLFSSL_USE_OPTIONS_H SLAPENIR_WOLFSSL_ORIGIN="${wolfssl_origin}"
	SLAPENIR_WOLFSSL_FROM_SOURCE=${SLAPENIR_WOLFSSL_FROM_SOURCE})
