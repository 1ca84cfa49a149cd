# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by ./coro and ./check. install_packages LIST... installs those Debian packages, named in the
# files, that are missing; it does and says nothing when none is. Everything it prints goes to stderr.

install_packages() {
  local wanted missing=() name as_root=()
  wanted=$(sed -e 's/#.*//' "$@" | tr -s ' \t\n' '\n' | sed '/^$/d' | sort -u)
  for name in $wanted; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] ||
      missing+=("$name")
  done
  ((${#missing[@]})) || return 0
  if ! command -v apt-get >/dev/null; then
    echo "coro: no apt-get here, so going on with what is there; Debian's names: ${missing[*]}" >&2
    return 0
  fi
  echo "coro: installing Debian packages: ${missing[*]}" >&2
  if ((EUID)); then
    command -v sudo >/dev/null || {
      echo "coro: that needs root; please run: apt-get install ${missing[*]}" >&2
      return 1
    }
    as_root=(sudo)
  fi
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y
    -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
  # Without an update first: fresh package lists need none, and stale ones fail at once.
  apt_without_services install --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && return 0
  "${apt[@]}" update >&2 &&
    apt_without_services install --no-install-recommends "${missing[@]}" >&2 && return 0
  echo "coro: the packages could not be installed" >&2
  return 1
}

# Debian starts a server when it installs it, unless the administrator's policy-rc.d answers 101. The tests start their own;
# so where there is no such policy, there is one for as long as this takes.
apt_without_services() {
  local policy=/usr/sbin/policy-rc.d status
  if [[ -e $policy ]]; then
    "${apt[@]}" "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
  "${apt[@]}" "$@"
  status=$?
  "${as_root[@]}" rm -f "$policy"
  return "$status"
}
