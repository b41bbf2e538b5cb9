"""What is shown before anything is written: the noise of pictures, and a sheet of them before and after."""
