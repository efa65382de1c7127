"""Where in a picture the evidence lies: Grad-CAM, occlusion, and their overlay. Only grad_cam imports torch."""
