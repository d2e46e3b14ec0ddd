#!/usr/bin/env bash
# Builds Assay for 64-bit Arm with Debian's cross compiler and runs it in an emulator: the C++ tests, then scores of the
# demo model, which must be the same bits alone and in a batch, and close to this machine's.
#   tools/test_arm64.sh    needs Debian 12 or later on x86-64, rustup, and root for packages; takes about an hour
# Packages for Arm are unpacked in build/arm64, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
work=$PWD/build/arm64
libraries=$work/root/usr/lib/aarch64-linux-gnu

section() { printf '\n===== %s\n' "$1"; }

section 'Packages'
mkdir -p "$work/packages"
apt-get install --yes --quiet g++-aarch64-linux-gnu qemu-user
dpkg --add-architecture arm64
apt-get update --quiet
(cd "$work/packages" && apt-get download libdnnl-dev:arm64 'libdnnl[0-9]*:arm64' ocl-icd-libopencl1:arm64)
for package in "$work"/packages/*.deb; do
    dpkg -x "$package" "$work/root"
done
rustup target add $target

cat >"$work/toolchain.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
list(APPEND CMAKE_PREFIX_PATH $work/root/usr)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=$libraries)
set(CMAKE_EXE_LINKER_FLAGS -Wl,-rpath-link,$libraries)
END
# Without a spin count the programs would set one and start themselves again, which this emulator cannot do.
emulated() {
    qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$libraries" -E GOMP_SPINCOUNT=10000 "$@"
}

section 'C++ tests'
cmake -S cpp -B "$work/cpp" -DCMAKE_BUILD_TYPE=Release -DCMAKE_TOOLCHAIN_FILE="$work/toolchain.cmake"
cmake --build "$work/cpp" --parallel
ctest --test-dir "$work/cpp" --output-on-failure

section 'Programs'
export CMAKE_TOOLCHAIN_FILE_aarch64_unknown_linux_gnu=$work/toolchain.cmake
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-L native=$libraries -C link-arg=-Wl,-rpath-link,$libraries"
cargo build --locked --bins
cargo build --locked --bins --target $target
here=${CARGO_TARGET_DIR:-target}/debug
arm=${CARGO_TARGET_DIR:-target}/$target/debug

section 'Scores'
rm -rf "$work/engine" "$work/engine-here"
emulated "$arm/build-engine" --model engines/demo --target cpu --dtype f32 --output "$work/engine" --name demo
"$here/build-engine" --model engines/demo --target cpu --dtype f32 --output "$work/engine-here" --name demo
cat >"$work/all.jsonl" <<'END'
{"prompt": "What is 1+1?", "response": "2"}
{"prompt": "What is 1+1?", "response": "It depends on who is asking."}
{"prompt": "I am going to Paris, what should I see?", "response": "See the Louvre, and walk along the Seine in the evening."}
{"prompt": "I am going to Paris, what should I see?", "response": "Louvre Louvre evening the the walk."}
END
scores() { # INPUT OUTPUT PROGRAM ...: scores a file anew
    local input=$1 output=$2
    shift 2
    rm -f "$output"*
    "$@" score "$input" --output "$output" 2>/dev/null
}
scores "$work/all.jsonl" "$work/together.jsonl" emulated "$arm/assay" --engine "$work/engine"
scores "$work/all.jsonl" "$work/here.jsonl" "$here/assay" --engine "$work/engine-here"
: >"$work/alone.jsonl"
while read -r row; do
    echo "$row" >"$work/one.jsonl"
    scores "$work/one.jsonl" "$work/one-scored.jsonl" emulated "$arm/assay" --engine "$work/engine"
    cat "$work/one-scored.jsonl" >>"$work/alone.jsonl"
done <"$work/all.jsonl"
cmp "$work/together.jsonl" "$work/alone.jsonl"
python3 - "$work/together.jsonl" "$work/here.jsonl" <<'END'
import json, sys
arm, here = ([json.loads(line) for line in open(path)] for path in sys.argv[1:])
names = [name for name in here[0] if name.startswith("score_")]
gap = max(abs(a[name] - b[name]) for a, b in zip(arm, here, strict=True) for name in names)
print(f"{len(arm)} conversations, {len(names)} scores each: at most {gap:.1e} from this machine's")
sys.exit(gap > 1e-4)
END
echo 'Scores are the same bits alone and together.'

section 'A served score'
emulated "$arm/assay" serve --engine "$work/engine" --host 127.0.0.1 --port 8971 2>"$work/serve.log" &
server=$!
trap 'kill $server' EXIT
for _ in $(seq 120); do
    if curl --silent --fail http://127.0.0.1:8971/v1/health/ready >/dev/null; then break; fi
    sleep 1
done
curl --silent --fail http://127.0.0.1:8971/v1/rewards -d '{"model": "demo", "responses": ["2"],
    "messages": [{"role": "user", "content": "What is 1+1?"}]}' >"$work/served.json"
python3 - "$work/served.json" "$work/together.jsonl" <<'END'
import json, sys
served = json.load(open(sys.argv[1]))["data"][0]["scores"]
row = json.loads(open(sys.argv[2]).readline())
assert served == {name: row["score_" + name] for name in served}, (served, row)
END
echo 'The served score has the same bits.'
