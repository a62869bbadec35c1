"""Datasets by the name that a study uses: made on this machine, or read as a public one came. What plug-ins import."""

from normfed_simulation.datasets.base import Dataset as Dataset
from normfed_simulation.datasets.catalogue import DATASETS as DATASETS
from normfed_simulation.datasets.catalogue import place_of as place_of
from normfed_simulation.datasets.downloaded import Downloaded as Downloaded
from normfed_simulation.datasets.phantom import Phantom as Phantom
