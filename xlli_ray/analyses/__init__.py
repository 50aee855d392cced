"""What is concluded from many samples. One file each; none yet: LAM, SRGA and DDR come with their stages."""
