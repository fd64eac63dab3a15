"""``python -m rcf.sagemaker``: the command ``rcf-sagemaker``."""

from .command import main

if __name__ == "__main__":
    main()
