# A browser for the tests of the HTML page, from Debian's packages; called by ./feedloop test where none is on PATH.
# Needs root and apt-get. Without them those tests are skipped and say so.
set -euo pipefail
[[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || exit 0
echo "feedloop: getting chromium from Debian's packages, for the tests of the page" >&2
export DEBIAN_FRONTEND=noninteractive
{ apt-get -qq update && apt-get -qq install --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 ||
  echo "feedloop: chromium could not be installed; the tests of the page will be skipped" >&2
