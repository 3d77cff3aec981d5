"""Networks: plain `torch.nn.Module`s that know no files and no units."""

from monai_lung.networks.ensemble import Ensemble
from monai_lung.networks.nodule_resnet import NoduleResNet50
from monai_lung.networks.res_unet import ResidualUnit, ResUNet3d
from monai_lung.networks.slice_resnet import SliceResNet
from monai_lung.networks.two_looks import TwoLooksResNet

__all__ = ["Ensemble", "NoduleResNet50", "ResUNet3d", "ResidualUnit", "SliceResNet", "TwoLooksResNet"]
