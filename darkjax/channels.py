"""What the channels of a clip are, where it has flow: three colours, then the three of the flow
image (`ops.flow_image`), x and y centred on 128 of 255, and the magnitude."""

COLOURS = 3
WITH_FLOW = 6
FLOW_X = 3  # the channel whose sign changes when a clip is mirrored
CENTRE = 128  # no motion, of 0 to 255
