#!/bin/sh
# Make .venv with the pinned set and this package; the Makefile calls it when either has changed.
#   PYTHON=python3.12     the interpreter to use, else the first that fits
#   TORCH_INDEX=URL       another index for torch, such as the one of its CPU builds
set -eu

say() { printf '%s\n' "$*" >&2; }

# 0: fits; 1: not 3.11 to 3.13, or not there; 2: has no venv or ensurepip
check() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || return 1
    "$1" -c 'import ensurepip, venv' 2>/dev/null || return 2
}

if [ ! -x .venv/bin/python ]; then
    chosen=
    without_venv=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        status=0
        check "$candidate" || status=$?
        case $status in
            0) chosen=$candidate; break ;;
            2) without_venv=$candidate ;;
        esac
    done
    if [ -z "$chosen" ] && [ -n "$without_venv" ]; then
        say "$without_venv has no venv module: install it (Debian, Ubuntu: sudo apt install python3-venv), then run this again."
        exit 1
    elif [ -z "$chosen" ]; then
        say "Python 3.11, 3.12 or 3.13 is needed and ${PYTHON:-no python3 here} is none: install one, or name it, as in: make book PYTHON=/path/to/python3.12"
        exit 1
    fi
    say "Making .venv with $chosen ($("$chosen" --version)); the first time takes minutes."
    "$chosen" -m venv .venv || {
        rm -rf .venv
        say "Could not make .venv: the lines above say why."
        exit 1
    }
fi

pip() {
    .venv/bin/python -m pip --disable-pip-version-check "$@" || {
        say "Installing failed: pip's last lines above say why. With no network, or no space left (torch needs 1 GB, on Linux with CUDA about 7), mend that and run this again."
        exit 1
    }
}

# torch first and in sight: it is most of the download.
if [ -n "${TORCH_INDEX:-}" ]; then
    pip install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)"
else
    pip install --constraint requirements.txt torch
fi
say "Installing the rest ..."
pip install --quiet --requirement requirements.txt
pip install --quiet --no-deps --no-build-isolation --editable .
touch .venv/.installed
