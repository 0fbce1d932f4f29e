"""For tests of what is built on this package: random acquisitions, plain loops to compare with, and a check of writers.

Needs hypothesis (`pip install "ome-writers[test]"`). Nothing else in the package imports it.
"""

from ome_writers.testing.conformance import check_writer as check_writer
from ome_writers.testing.failing import Failing as Failing
from ome_writers.testing.model import arrivals as arrivals
from ome_writers.testing.model import expected_arrays as expected_arrays
from ome_writers.testing.model import frame_pixels as frame_pixels
from ome_writers.testing.readers import read_tiff as read_tiff
from ome_writers.testing.readers import read_zarr as read_zarr
from ome_writers.testing.strategies import dimensions as dimensions
from ome_writers.testing.strategies import settings as settings
from ome_writers.testing.ways import Way as Way
from ome_writers.testing.ways import ways as ways
