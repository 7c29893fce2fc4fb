# Makes the locks in this folder anew from pyproject.toml; called by ./feedloop lock [--upgrade]. The locks name no host.
# What is locked stays at its version where pyproject.toml allows it; --upgrade takes the newest of everything.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=build/uv/bin/uv
all=build/all-groups.txt
upgrade=("$@") # --upgrade or nothing

compile() { # output file, then uv's options
  local out=$1 && shift
  cat "$out" >"$out.new" 2>/dev/null || true # uv keeps the versions that it finds there
  "$uv" pip compile --quiet "${upgrade[@]}" --universal --python-version 3.11 --generate-hashes --no-header \
    --annotation-style line --excludes requirements/without-unused.txt "$@" -o "$out.new"
  { [[ $out == build/* ]] || echo "# Made by ./feedloop lock from pyproject.toml. Do not edit."; cat "$out.new"; } >"$out"
  rm "$out.new"
}

# All groups together first, so that each group's lock can take its versions from one consistent set.
cat requirements/{spark,train,dev,mlflow,java}.txt >"$all" 2>/dev/null || true
compile "$all" pyproject.toml --group spark --group train --group dev --group mlflow --group java
compile requirements/spark.txt pyproject.toml --group spark --constraint "$all"
compile requirements/train.txt pyproject.toml --group train --constraint "$all" --excludes requirements/without-spark.txt
compile requirements/dev.txt --group dev --constraint "$all"
compile requirements/mlflow.txt --group mlflow --constraint "$all"
compile requirements/java.txt --group java --constraint "$all"
echo "uv==$("$uv" --version | cut -d' ' -f2)" >build/uv.in
compile requirements/uv.txt build/uv.in
rm "$all" build/uv.in
