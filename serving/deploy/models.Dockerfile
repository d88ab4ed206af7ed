# A proven repository on NVIDIA's image, for `conch deploy images`: nothing is installed, and each file is held against its
# hash once more.
ARG TRITON_IMAGE
FROM ${TRITON_IMAGE}
COPY repository /models
COPY SHA256SUMS /opt/conch/SHA256SUMS
RUN sha256sum --check --strict --quiet /opt/conch/SHA256SUMS
USER 1000:1000
