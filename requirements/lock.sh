# Makes the locks in this folder anew from pyproject.toml; called by ./feedloop lock. The locks name no host.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=build/uv/bin/uv
all=build/all-groups.txt

compile() { # output file, then uv's options
  local out=$1 && shift
  "$uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
    --annotation-style line --excludes requirements/without-unused.txt "$@" -o "$out.new"
  { [[ $out == build/* ]] || echo "# Made by ./feedloop lock from pyproject.toml. Do not edit."; cat "$out.new"; } >"$out"
  rm "$out.new"
}

# All groups together first, so that each group's lock can take its versions from one consistent set.
compile "$all" pyproject.toml --group spark --group train --group dev --group java
compile requirements/spark.txt pyproject.toml --group spark --constraint "$all"
compile requirements/train.txt pyproject.toml --group train --constraint "$all" --excludes requirements/without-spark.txt
compile requirements/dev.txt --group dev --constraint "$all"
compile requirements/java.txt --group java --constraint "$all"
echo "uv==$("$uv" --version | cut -d' ' -f2)" >build/uv.in
compile requirements/uv.txt build/uv.in
rm "$all" build/uv.in
