"""Other people's lists, read: boot logs and listings of several systems, sysfs, data files -> MemoryMap."""
