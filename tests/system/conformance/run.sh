#!/usr/bin/env bash
# Runs the official conformance suite (@modelcontextprotocol/conformance 0.2.0-alpha.12) against this server over HTTP:
# plain, which is the server as users have it, and overlay, with what the suite needs added; and twice more plain, with the
# token that users of the same machine show, and with an access token of an identity provider. Fails if anything is not as
# the expected-*.yaml say, be it worse or better. The suite's own scenarios for OAuth (auth/*) try clients, and its command
# `authorization` tries authorization servers: none of them tries a server such as this one.
#
# Usage: run.sh PYTHON SUITE
# SUITE is the dist/index.js of the installed package; it runs on the PATH's node, which must be 22 or newer.
set -euo pipefail

revisions=(2025-11-25 2026-07-28)
# A revision's run also tries what the revision does not require, but holds it to nothing: these are held to the same.
# So are those of the extension for skills, which are in no revision.
skills=(sep-2640-skills-manifest sep-2640-skills-enumeration sep-2640-skills-directory)
more_of() {
  case $1 in
    2025-11-25) echo server-session-lifecycle json-schema-2020-12 server-sse-polling ;;
    2026-07-28) echo json-schema-2020-12 http-header-validation http-custom-header-server-validation "${skills[@]}" ;;
  esac
}
# So are those of the extension for tasks, but each needs fixtures.
extensions_of() {
  case $1 in
    overlay-2026-07-28) printf 'tasks-%s ' lifecycle capability-negotiation wire-fields request-state-removal mrtr-input \
      request-headers dispatch-and-envelope status-notifications required-task-error mrtr-composition ;;
  esac
}

absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
python=$(absolute "$(command -v "$1")")
suite=$(absolute "$2")
cd "$(dirname "$0")/../../.."
work=$(mktemp -d)
servers=()
failed=0

finish() {
  for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap finish EXIT

alive() { "$python" -c 'import sys, httpx; httpx.get(sys.argv[1], timeout=2, trust_env=False).raise_for_status()' "$1" 2>/dev/null; }
free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])'; }

# serve NAME [FLAG...]: serves in the background, and sets the address once the server answers.
serve() {
  local name=$1 port
  shift
  port=$(free_port)
  address=http://localhost:$port
  TMPDIR=$work "$python" -m tests.system.conformance.serve "$@" "$port" >"$work/$name.log" 2>&1 &
  servers+=($!)
  for _ in {1..150}; do
    if alive "$address/healthz"; then return; fi
    kill -0 "${servers[-1]}" 2>/dev/null || break
    sleep 0.2
  done
  echo "The server did not answer:"
  cat "$work/$name.log"
  exit 1
}

# try NAME EXPECTED ARGUMENT...: runs a part of the suite, and shows what it said only if something was not as expected.
try() {
  local name=$1 expected=tests/system/conformance/expected-$2.yaml
  shift 2
  if ! node ${token:+--import "$PWD/tests/system/conformance/with_token.mjs"} "$suite" server --url "$address/mcp" --expected-failures "$expected" --output-dir "$work/$name" "$@" \
    >"$work/$name.out" 2>&1; then
    failed=1
    echo "$name is not as expected:"
    tail -n 40 "$work/$name.out"
  fi
}

# count STATUS FOLDER...: counts the checks in what runs wrote.
count() {
  local status=$1
  shift
  find "$@" -name checks.json -exec cat {} + | grep -c "^    \"status\": \"$status\"" || true
}

token=
for kind in plain overlay token oauth; do
  expected=plain
  case $kind in
    plain) serve plain --plain ;;
    overlay) serve overlay && expected=overlay ;;
    oauth) serve oauth --plain --access-token "$work/jwt" && token=$(cat "$work/jwt") && export TOKEN=$token ;;
    token) serve token --plain --token "$work/data" && token=$(cat "$work/data/http-token") && export TOKEN=$token ;;
  esac
  for revision in "${revisions[@]}"; do
    name=$kind-$revision
    try "$name" "$expected" --requirements "$revision"
    for scenario in $(more_of "$revision") $(extensions_of "$name"); do
      # forced, because extensions are of no revision and would be skipped
      try "$name-$scenario" "$expected" --scenario "$scenario" --spec-version "$revision" --force
    done
    rm -rf "$work/$name"/server-tasks-* # of the extension, tried without being asked for
    echo "$name: $(count SUCCESS "$work/$name") passed, $(count FAILURE "$work/$name") failed, $(count WARNING "$work/$name") warned"
    if [ "$revision" = 2026-07-28 ]; then
      # a server that does not declare the extension has the checks skipped, which fails nothing by itself
      skipped=$(count SKIPPED "$work/$name"-sep-2640-skills-{manifest,enumeration})
      [ "$skipped" = 0 ] || failed=1
      echo "$name, skills: $(count SUCCESS "$work/$name"-sep-*) passed, $(count FAILURE "$work/$name"-sep-*) failed, $skipped skipped"
    fi
    if [ -n "$(extensions_of "$name")" ]; then
      # the suite itself skips its scenario of notifications: tests/server/test_video_tasks.py has what is held to there
      echo "$name, tasks: $(count SUCCESS "$work/$name"-tasks-*) passed, $(count FAILURE "$work/$name"-tasks-*) failed," \
        "$(count SKIPPED "$work/$name"-tasks-*) skipped"
    fi
  done
done
[ "$failed" = 0 ] && echo "All of it as expected."
exit "$failed"
