"""`python -m dsmixer.cli`, where no `dsmixer` script is on the path."""

import sys

from dsmixer.cli import main

sys.exit(main())
