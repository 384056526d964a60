from .data import StudentDataConfig as StudentDataConfig
from .data import StudentExample as StudentExample
from .data import student_examples as student_examples
from .training import PACKAGED_STUDENT as PACKAGED_STUDENT
from .training import StudentConfig as StudentConfig
from .training import StudentReport as StudentReport
from .training import train_student as train_student
