"""`python -m monai_lung` is `monai-lung`."""

from monai_lung.cli import main

if __name__ == "__main__":
    main()
