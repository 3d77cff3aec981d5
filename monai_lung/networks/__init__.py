"""Networks: plain `torch.nn.Module`s that know no files and no units."""

from monai_lung.networks.kernel_regression import KernelRegression
from monai_lung.networks.nodule_resnet import NoduleResNet50
from monai_lung.networks.res_unet import ResidualUnit, ResUNet3d

__all__ = ["KernelRegression", "NoduleResNet50", "ResUNet3d", "ResidualUnit"]
