#!/bin/sh
# macOS opens this with a double click; on Linux: sh start.command
cd "$(dirname "$0")" && exec python3 start.py
