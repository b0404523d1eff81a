"""The shaper: learns what is normal for each sender and slows what is not."""
