# Libraries, each as one imported target. wolfSSL has its own file, since it is built from source.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)

set(slapenir_missing "")
macro(slapenir_pkg name module)
	pkg_check_modules(${name} QUIET IMPORTED_TARGET ${module})
	if(NOT ${name}_FOUND)
		list(APPEND slapenir_missing ${module})
	endif()
endmacro()

slapenir_pkg(UV libuv)
slapenir_pkg(YAML yaml-0.1)
slapenir_pkg(MNL libmnl)
slapenir_pkg(NFTNL libnftnl)
slapenir_pkg(CARES libcares)
slapenir_pkg(SECCOMP libseccomp)
slapenir_pkg(JANSSON jansson)
if(SLAPENIR_TESTS)
	slapenir_pkg(CMOCKA cmocka)
endif()
if(slapenir_missing)
	list(JOIN slapenir_missing " " slapenir_missing)
	message(FATAL_ERROR "missing libraries: ${slapenir_missing}\n"
		"`./dev build` installs what Debian and Ubuntu package.")
endif()

# Only compared with, in tests/bench.
pkg_check_modules(HS QUIET IMPORTED_TARGET libhs)

include(WolfSSL)
