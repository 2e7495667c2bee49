"""The 32-bit kernel: one gigabyte of kernel addresses, two kinds of page tables, and firmware called without paging."""
