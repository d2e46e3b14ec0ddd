#!/usr/bin/env bash
# Builds a Debian package of the programs, for the system that this runs on:
#   tools/make_deb.sh [DIRECTORY_OF_PROGRAMS [OUTPUT_DIRECTORY]]    by default target/release and dist
# Needs Debian's package dpkg-dev. The package depends on the oneDNN that the programs are linked with.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=$(realpath "${1:-target/release}") output=$(realpath -m "${2:-dist}")
command -v dpkg-shlibdeps >/dev/null || { echo 'dpkg-shlibdeps is missing; install it with: apt-get install dpkg-dev' >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# dpkg-shlibdeps wants a source package.
mkdir -p "$root/source/debian"
printf 'Source: assay\n\nPackage: assay\nArchitecture: any\n' >"$root/source/debian/control"

tree=$root/assay
documents=$tree/usr/share/doc/assay
install -d "$tree/usr/share/man/man1" "$documents" "$tree/DEBIAN"
for program in assay build-engine; do
    install -D --strip "$programs/$program" "$tree/usr/bin/$program"
    "$programs/$program" man "$tree/usr/share/man/man1"
    while read -r shell path; do
        mkdir -p "$(dirname "$tree$path")"
        "$programs/$program" completions "$shell" >"$tree$path"
    done <<END
bash /usr/share/bash-completion/completions/$program
zsh /usr/share/zsh/vendor-completions/_$program
fish /usr/share/fish/vendor_completions.d/$program.fish
END
done
gzip --best --no-name "$tree"/usr/share/man/man1/*
install -m 644 LICENSE "$documents/copyright"
install -m 644 README.md "$documents/"
gzip --best --no-name --stdout CHANGELOG.md >"$documents/changelog.gz"
mkdir -p "$tree/usr/lib/systemd/system"
sed 's|/usr/local/bin/|/usr/bin/|' deploy/assay.service >"$tree/usr/lib/systemd/system/assay.service"
find "$tree" -type d -exec chmod 755 {} +

# shellcheck source=/dev/null
. /etc/os-release
version=$(sed -n '0,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)-1+$ID$VERSION_ID
depends=$(cd "$root/source" && dpkg-shlibdeps --ignore-missing-info -O "$tree/usr/bin/assay" "$tree/usr/bin/build-engine" | sed -n 's/^shlibs:Depends=//p')
cat >"$tree/DEBIAN/control" <<END
Package: assay
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: ${MAINTAINER:-Assay <assay@localhost>}
Section: science
Priority: optional
Depends: $depends
Recommends: ca-certificates
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f1)
Description: inference server for LLM reward models
 Scores responses of large language models over HTTP or from files, with
 models of the Hugging Face hub. It has an engine for x86-64 processors.
END
mkdir -p "$output"
dpkg-deb --root-owner-group --build "$tree" "$output/assay_${version}_$(dpkg --print-architecture).deb"
