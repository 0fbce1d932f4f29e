"""The command line for those whose shell does not find `ome-writers`: `python -m ome_writers`."""

import sys

from ome_writers.cli import main

sys.exit(main())
