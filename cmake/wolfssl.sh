#!/bin/sh
#
# wolfssl.sh - wolfSSL with assembly, from the distribution's own source package
#
#	wolfssl.sh		build the best pinned version unless it is there; print its prefix
#	wolfssl.sh --find	print the prefix of one built before, or fail
#
# With SLAPENIR_WOLFSSL_TARBALL=FILE the source is that file, if its checksum is pinned.
#
# The packaged library is built without AES-NI, PCLMUL and the SP assembly; a gateway spends most of
# its time there. The source comes through apt, with a private source list and private state: the
# machine's apt configuration is read (its mirror, keyring and proxy), never changed. apt verifies the
# signature of the index and the checksum of the file; wolfssl.pin says which tarball is accepted.
# Nothing else is trusted: what is not pinned is not built, and the caller falls back to the package.
#
# Results live outside the tree, in $SLAPENIR_CACHE or the user's cache folder, one folder per version
# and set of flags, moved into place when complete: concurrent calls do no harm.
# SLAPENIR_DEBIAN_MIRROR names a mirror where the machine's own is of another distribution.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${SLAPENIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/slapenir}
machine=$(uname -m)
work=

say() { printf 'wolfssl: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

cleanup()
{
	status=$?
	[ -z "$work" ] || rm -rf "$work"
	exit "$status"
}

# --- what is built ----------------------------------------------------------------------------

# Only what the gateway speaks: TLS 1.2 and 1.3, ECDHE, AEAD, RSA and ECDSA and Ed25519 certificates.
# No OpenSSL layer and no kept peer chains: an idle connection costs what TLS itself needs.
configure_flags()
{
	printf '%s\n' --enable-static --disable-shared --with-pic --disable-examples \
		--disable-crypttests --disable-benchmark --disable-oldtls --disable-md5 \
		--disable-dh --disable-des3 --disable-arc4 --disable-psk --disable-dtls \
		--disable-pkcs12 --enable-tls13 --enable-sni --enable-alpn \
		--enable-session-ticket --enable-ticket-nonce-malloc --enable-extended-master \
		--enable-certgen --enable-certreq --enable-certext --enable-keygen \
		--enable-altcertchains --enable-ip-alt-name --enable-ecc --enable-curve25519 \
		--enable-ed25519 --enable-sha384 --enable-sha512 --enable-aesgcm --enable-chacha \
		--enable-poly1305 --enable-hkdf --enable-base64encode --enable-sys-ca-certs \
		--enable-harden --enable-sp=yes,4096 --enable-sp-math-all --enable-sp-asm \
		--enable-singlethreaded
	case $machine in
	x86_64) printf '%s\n' --enable-intelasm --enable-aesni ;;
	aarch64) printf '%s\n' --enable-armasm ;;
	esac
	case $1 in
	5.9.*) printf '%s\n' --enable-mlkem ;;	# with X25519MLKEM768
	esac
}

c_flags()
{
	printf '%s ' -O3 -fPIC -fstack-protector-strong -fstack-clash-protection \
		-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
		-DWOLFSSL_ALT_NAMES -DHAVE_EX_DATA -DHAVE_EXT_CACHE -DWOLFSSL_DER_TO_PEM \
		-DWOLFSSL_ALWAYS_VERIFY_CB -DWOLFSSL_GETRANDOM -DWOLFSSL_NO_DEF_TICKET_ENC_CB \
		-DNO_SESSION_CACHE_REF \
		-DWC_RSA_PSS -DNO_OLD_TLS -DNO_WOLFSSL_STUB
	case $machine in
	x86_64) printf '%s ' -fcf-protection=full ;;
	aarch64) printf '%s ' -mbranch-protection=standard ;;
	esac
}

# prefix_of VERSION SHA256: the folder for exactly this source and these flags
prefix_of()
{
	tag=$({ configure_flags "$1"; c_flags; echo "$2 recipe 2"; } | sha256sum | cut -c1-12)
	printf '%s/wolfssl-%s-%s\n' "$cache" "$1" "$tag"
}

pins() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/wolfssl.pin"; }

find_built()
{
	pins | while read -r _ version sum; do
		prefix=$(prefix_of "$version" "$sum")
		if [ -f "$prefix/lib/libwolfssl.a" ] && [ -f "$prefix/BUILDINFO" ]; then
			printf '%s\n' "$prefix"
			break
		fi
	done
}

# --- where it comes from ----------------------------------------------------------------------

# apt_sources: "URI keyring" of every entry that apt has configured, both file formats
apt_sources()
{
	for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ ! -f "$list" ] || awk '
			$1 == "deb" {
				key = "-"; i = 2
				if ($i ~ /^\[/) {
					for (; i <= NF; i++) {
						word = $i
						gsub(/[][]/, "", word)
						if (sub(/^signed-by=/, "", word)) key = word
						if ($i ~ /\]$/) break
					}
					i++
				}
				print $i, key
			}' "$list"
	done
	for list in /etc/apt/sources.list.d/*.sources; do
		[ ! -f "$list" ] || awk '
			function flush(   n, i, uri) {
				n = split(uris, uri, " ")
				for (i = 1; i <= n; i++) if (enabled) print uri[i], key
				uris = ""; key = "-"; enabled = 1
			}
			BEGIN { key = "-"; enabled = 1 }
			/^[[:space:]]*$/ { flush(); next }
			/^#/ { next }
			tolower($1) == "uris:" { $1 = ""; uris = $0 }
			tolower($1) == "enabled:" && $2 ~ /^([Nn]o|[Ff]alse|0)$/ { enabled = 0 }
			tolower($1) == "signed-by:" && $2 ~ /^\// { key = $2 }
			END { flush() }' "$list"
	done
}

# mirror_of DISTRIBUTION: sets $mirror and $keyring, or fails
mirror_of()
{
	mirror='' keyring=''
	if [ "$1" = debian ] && [ -n "${SLAPENIR_DEBIAN_MIRROR:-}" ]; then
		mirror=$SLAPENIR_DEBIAN_MIRROR
	else
		found=$(apt_sources | awk -v name="$1" '
			{ uri = $1; sub(/\/+$/, "", uri) }
			uri ~ ("/" name "(\\.list)?$") { print uri, $2; exit }')
		[ -n "$found" ] || return 1
		mirror=${found%% *} keyring=${found#* }
	fi
	if [ ! -f "$keyring" ]; then
		for keyring in "/usr/share/keyrings/$1-archive-keyring.gpg" \
			"/usr/share/keyrings/$1-archive-keyring.pgp" ''; do
			[ ! -f "$keyring" ] || break
		done
	fi
	[ -n "$keyring" ]
}

private_apt()
{
	tool=$1
	shift
	"$tool" -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$work/lists" -o Dir::Cache::archives="$work/archives" \
		-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
		-o Acquire::Check-Valid-Until=false \
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root \
		-o Acquire::AllowInsecureRepositories=false "$@"
}

# package_version SHA256: the version of the source package whose original tarball has this checksum
package_version()
{
	private_apt apt-cache showsrc --only-source wolfssl 2>/dev/null | awk -v sum="$1" '
		$1 == "Version:" { version = $2 }
		$1 == sum && /\.orig\.tar\./ { print version; exit }'
}

# fetch SUITES SHA256: leaves the source package in $work/source; without the distribution's patches
# where the mirror has only the original tarball left
fetch()
{
	rm -rf "$work/lists" "$work/source"
	mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/source"
	: > "$work/sources.list"
	for suite in $1; do
		printf 'deb-src [signed-by=%s] %s %s %s\n' "$keyring" "$mirror" "$suite" \
			"$components" >> "$work/sources.list"
	done
	say "asking the package mirror for the source ($1)"
	private_apt apt-get update > "$work/apt.log" 2>&1 || { tail -n 3 "$work/apt.log" >&2; return 1; }
	package=$(package_version "$2")
	[ -n "$package" ] || { say "$1 no longer has the pinned source"; return 1; }
	(cd "$work/source" &&
		{ private_apt apt-get source --download-only "wolfssl=$package" ||
		  private_apt apt-get source --download-only --tar-only "wolfssl=$package"; }
	) > "$work/apt.log" 2>&1 || true
	# the pin decides, not apt's word
	check_pin "$2"
}

check_pin()
{
	tarball=
	for file in "$work"/source/*.orig.tar.*; do
		case $file in *.asc) continue ;; esac
		[ -f "$file" ] && tarball=$file
	done
	[ -n "$tarball" ] || { tail -n 3 "$work/apt.log" >&2; return 1; }
	[ "$(sha256sum < "$tarball" | cut -d' ' -f1)" = "$1" ] ||
		{ say "checksum of $(basename "$tarball") is not the pinned one"; return 1; }
}

unpack()
{
	patches='not on the mirror'
	mkdir "$work/tree"
	tar -xf "$tarball" -C "$work/tree" --strip-components=1
	for file in "$work"/source/*.debian.tar.*; do
		[ -f "$file" ] || continue
		tar -xf "$file" -C "$work/tree"
		patches=
		[ -f "$work/tree/debian/patches/series" ] || continue
		while read -r patch _; do
			case $patch in ''|'#'*) continue ;; esac
			patch -s -p1 -d "$work/tree" < "$work/tree/debian/patches/$patch" ||
				return 1
			patches="$patches $patch"
		done < "$work/tree/debian/patches/series"
	done
	[ "$patches" != 'not on the mirror' ] ||
		say "the distribution's patches are not on the mirror: building without them"
}

# --- building ---------------------------------------------------------------------------------

# step NAME COMMAND...: quiet, its log shown when it fails
step()
{
	name=$1
	shift
	say "$name"
	"$@" > "$work/step.log" 2>&1 || { tail -n 25 "$work/step.log" >&2; return 1; }
}

build()
{
	version=$1 prefix=$2
	unpack || return 1
	(
		cd "$work/tree"
		step 'preparing' ./autogen.sh || exit 1
		# word splitting wanted: one flag per line
		# shellcheck disable=SC2046
		step 'configuring' ./configure --prefix="$prefix" $(configure_flags "$version") \
			CFLAGS="$(c_flags)" || exit 1
		step 'compiling (about a minute)' make -j"$(jobs)" || exit 1
		step 'installing' make install DESTDIR="$work/stage" || exit 1
	) || return 1
	rm -rf "$work/stage$prefix/share" "$work/stage$prefix/bin"
	# the header repeats -D flags; the fortify level is each user's own
	sed -i '/_FORTIFY_SOURCE/d' "$work/stage$prefix/include/wolfssl/options.h"
	{
		echo "version=$version"
		echo "machine=$machine"
		echo "tarball=$(basename "$tarball")"
		echo "patches=$patches"
		echo "configure=$(configure_flags "$version" | tr '\n' ' ')"
		echo "cflags=$(c_flags)"
	} > "$work/stage$prefix/BUILDINFO"
	mkdir -p "$(dirname "$prefix")"
	mv -T "$work/stage$prefix" "$prefix" 2>/dev/null || [ -f "$prefix/BUILDINFO" ]
}

jobs()
{
	n=$(nproc 2>/dev/null || echo 1)
	[ "$n" -le 8 ] || n=8
	echo "${SLAPENIR_JOBS:-$n}"
}

build_pinned()
{
	# shellcheck disable=SC1091
	distribution=$(. /etc/os-release && printf '%s' "${ID:-}")
	# shellcheck disable=SC1091
	release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
	components=main
	if mirror_of debian; then
		own=
	elif [ "$distribution" = ubuntu ] && mirror_of ubuntu; then
		own="$release $release-updates $release-security" components='main universe'
	else
		fail "no package mirror of Debian or Ubuntu is configured on this machine"
	fi
	pins > "$work/pins"
	while read -r suite version sum <&3; do
		if fetch "${own:-$suite}" "$sum" && build "$version" "$(prefix_of "$version" "$sum")"
		then
			prefix_of "$version" "$sum"
			return 0
		fi
		rm -rf "$work/tree" "$work/stage"
	done 3< "$work/pins"
	return 1
}

build_tarball()
{
	mkdir -p "$work/source"
	cp "$SLAPENIR_WOLFSSL_TARBALL" "$work/source/wolfssl.orig.tar.gz"
	pins > "$work/pins"
	: > "$work/apt.log"
	while read -r _ version sum <&3; do
		check_pin "$sum" 2>/dev/null || continue
		build "$version" "$(prefix_of "$version" "$sum")" || return 1
		prefix_of "$version" "$sum"
		return 0
	done 3< "$work/pins"
	fail "$SLAPENIR_WOLFSSL_TARBALL is not a pinned source"
}

found=$(find_built)
if [ "${1:-}" = --find ]; then
	[ -n "$found" ] || exit 1
	printf '%s\n' "$found"
	exit 0
fi
if [ -n "$found" ]; then
	printf '%s\n' "$found"
	exit 0
fi
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d "${TMPDIR:-/tmp}/slapenir-wolfssl.XXXXXX")
chmod 755 "$work"
if [ -n "${SLAPENIR_WOLFSSL_TARBALL:-}" ]; then
	build_tarball
else
	build_pinned || fail 'could not be built from source'
fi
