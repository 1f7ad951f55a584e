from ilnrepro.api import LabelMap as LabelMap
from ilnrepro.api import Scores as Scores
from ilnrepro.api import Segmentation as Segmentation
from ilnrepro.api import Segmenter as Segmenter
from ilnrepro.api import Structures as Structures
from ilnrepro.api import compare as compare
from ilnrepro.api import data_set as data_set
from ilnrepro.api import ensemble as ensemble
from ilnrepro.api import export as export
from ilnrepro.api import read_data as read_data
from ilnrepro.api import scores as scores
from ilnrepro.api import train as train
from ilnrepro.api import write_data as write_data
from ilnrepro.errors import InputError as InputError
from ilnrepro.keras import replace as replace
from ilnrepro.norms import Normalization as Normalization

__version__: str

def set_up() -> None: ...
