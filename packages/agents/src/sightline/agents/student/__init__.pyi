from .config import PACKAGED_STUDENT as PACKAGED_STUDENT
from .config import StudentDataConfig as StudentDataConfig
from .config import StudentTrainingConfig as StudentTrainingConfig
from .data import student_examples as student_examples
from .records import StudentExample as StudentExample
from .records import StudentReport as StudentReport
from .training import train_student as train_student
