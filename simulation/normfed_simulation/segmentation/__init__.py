"""Brain segmentation across six scanners by a U-Net (Zakazov 2021): what a network loses on a scanner it never saw."""
