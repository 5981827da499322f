#!/usr/bin/env bash
# base_image.sh FOLDER PORT: make python:3.11-slim from Debian's packages, for machines that cannot pull it.
# Debian 12 has Python 3.11. The image gets what this machine needs to reach a package index: its CA bundle and pip's
# configuration, with folders of this machine replaced by what local_wheels.py serves on PORT. Neither is for a
# registry: an image that is to leave the machine is built on the real python:3.11-slim.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$1 port=$2
DOCKER=${DOCKER:-docker}
if [ ! -f "$folder/rootfs.tar" ]; then
  rm -rf "$folder/rootfs"
  mkdir -p "$folder"
  debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm \
    "$folder/rootfs" > "$folder/debootstrap.log"
  rm -rf "$folder"/rootfs/var/cache/apt/* "$folder"/rootfs/var/lib/apt/lists/* "$folder"/rootfs/usr/share/{doc,man,locale}/*
  tar -C "$folder/rootfs" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -cf "$folder/rootfs.tar.part" .
  umount "$folder/rootfs/proc" "$folder/rootfs/sys" 2> /dev/null || true
  rm -rf --one-file-system "$folder/rootfs"
  mv "$folder/rootfs.tar.part" "$folder/rootfs.tar"
fi
mkdir -p "$folder/context"
python3 "$here/local_wheels.py" --print-config "http://127.0.0.1:$port" > "$folder/context/pip.conf"
cat "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" > "$folder/context/ca-certificates.crt"
"$DOCKER" import "$folder/rootfs.tar" debian-python:bookworm > /dev/null
"$DOCKER" build --quiet --tag python:3.11-slim --file - "$folder/context" <<'DOCKERFILE'
FROM debian-python:bookworm
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
CMD ["python3"]
DOCKERFILE
