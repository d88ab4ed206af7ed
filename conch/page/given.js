// Strokes drawn by hand, a file, or a picture of the webcam. Strokes go to the page as points, files as they are.
const MOST_POINTS = 5000;

export default {
  template: `
    <div class="given">
      <div v-show="watching"><video ref="video" class="sheet" playsinline muted @loadeddata="ready = true" :aria-label="'webcam for ' + label"></video></div>
      <canvas v-if="draw" v-show="!watching" ref="sheet" class="sheet" tabindex="0" role="application"
        :width="width" :height="height" :aria-label="'Draw ' + label + ': with a finger or mouse, or with arrow keys, space puts the pen down and up'"
        @pointerdown.prevent="down" @pointermove="move" @pointerup="up" @pointercancel="up" @keydown="key"></canvas>
      <p v-if="draw && !watching" class="small soft hint">Draw here, with the mouse, a finger or the arrow keys and space.</p>
      <div class="row">
        <button v-if="draw && !watching" type="button" class="quiet" @click="clear">Clear</button>
        <label v-if="!watching" class="button quiet"><span>{{ upload }}</span>
          <input type="file" class="unseen" :accept="accept" :aria-label="upload + ': ' + label" @change="chosen"></label>
        <button v-if="webcam && !watching" type="button" class="quiet" @click="watch">Webcam</button>
        <button v-if="watching" type="button" :disabled="!ready" @click="snap">Take the picture</button>
        <button v-if="watching" type="button" class="quiet" @click="unwatch">Stop</button>
      </div>
      <p v-if="error" role="alert" class="bad-text">{{ error }}</p>
    </div>`,
  props: {
    draw: Boolean, webcam: Boolean, upload: String, accept: String, label: String, url: String, most: Number,
    width: Number, height: Number, ground: String, ink: String, pen: Number,
  },
  data() {
    // ready: the webcam has shown a first picture
    return { error: "", watching: false, ready: false, strokes: [], drawing: false, at: [0.5, 0.5], penDown: false };
  },
  created() {
    this.sent = Promise.resolve();
  },
  mounted() {
    if (this.draw) this.paint();
  },
  beforeUnmount() {
    this.unwatch();
  },
  methods: {
    place(event) {
      const box = this.$refs.sheet.getBoundingClientRect();
      const share = (value, low, size) => Math.round(Math.min(1, Math.max(0, (value - low) / size)) * 10000) / 10000;
      return [share(event.clientX, box.left, box.width), share(event.clientY, box.top, box.height)];
    },
    points() {
      return this.strokes.reduce((sum, stroke) => sum + stroke.length, 0);
    },
    down(event) {
      this.$refs.sheet.setPointerCapture(event.pointerId);
      this.$refs.sheet.focus({ preventScroll: true });
      this.drawing = true;
      this.strokes.push([this.place(event)]);
      this.paint();
    },
    move(event) {
      if (!this.drawing || this.points() >= MOST_POINTS) return;
      this.strokes[this.strokes.length - 1].push(this.place(event));
      this.paint();
    },
    up() {
      if (!this.drawing) return;
      this.drawing = false;
      this.tell();
    },
    key(event) {
      const step = 0.04, ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key === " ") {
        this.penDown = !this.penDown;
        if (this.penDown) this.strokes.push([[...this.at]]);
        else this.tell();
      } else if (ways[event.key]) {
        this.at = this.at.map((value, axis) => Math.min(1, Math.max(0, value + step * ways[event.key][axis])));
        if (this.penDown && this.points() < MOST_POINTS) this.strokes[this.strokes.length - 1].push([...this.at]);
      } else return;
      event.preventDefault();
      this.paint(true);
    },
    paint(cursor) {
      const sheet = this.$refs.sheet, pen = sheet.getContext("2d"), { width, height } = sheet;
      pen.fillStyle = this.ground;
      pen.fillRect(0, 0, width, height);
      pen.strokeStyle = pen.fillStyle = this.ink;
      pen.lineWidth = this.pen * Math.min(width, height);
      pen.lineCap = pen.lineJoin = "round";
      for (const stroke of this.strokes) {
        pen.beginPath();
        for (const [x, y] of [stroke[0], ...stroke]) pen.lineTo(x * width, y * height);
        pen.stroke();
      }
      if (cursor) {
        pen.beginPath();
        pen.lineWidth = 2;
        pen.strokeStyle = this.penDown ? "#d1662b" : "#2f6db3";
        pen.arc(this.at[0] * width, this.at[1] * height, 10, 0, 2 * Math.PI);
        pen.stroke();
      }
    },
    tell() {
      this.error = "";
      this.$emit("strokes", this.strokes);
    },
    clear() {
      this.strokes = [];
      this.penDown = false;
      this.error = "";
      this.paint();
      this.$emit("cleared");
    },
    chosen(event) {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.send(file, file.name);
    },
    async send(blob, name) {
      this.error = "";
      if (blob.size > this.most) {
        this.error = `${name} has ${(blob.size / 2 ** 20).toFixed(1)} MiB, at most ${this.most / 2 ** 20} MiB are taken`;
        return;
      }
      if (this.draw) { this.strokes = []; this.paint(); }
      const before = this.sent;  // in their order: the last one counts
      let done;
      this.sent = new Promise((resolve) => { done = resolve; });
      await before;
      try {
        const answer = await fetch(this.url, { method: "POST", body: blob, headers: { "X-Name": encodeURIComponent(name) } });
        if (!answer.ok) this.error = await answer.text();
      } catch {
        this.error = "this page's own program does not answer; is `conch page` running?";
      } finally {
        done();
      }
    },
    async watch() {
      this.error = "";
      try {
        if (!navigator.mediaDevices) throw new Error("a browser gives it to pages of this machine or over TLS only");
        this.stream = await navigator.mediaDevices.getUserMedia({ video: true });
      } catch (error) {
        this.error = `no webcam: ${error.message}`;
        return;
      }
      this.watching = true;
      this.$refs.video.srcObject = this.stream;
      await this.$refs.video.play();
    },
    unwatch() {
      this.stream?.getTracks().forEach((track) => track.stop());
      this.stream = null;
      this.watching = this.ready = false;
    },
    snap() {
      const video = this.$refs.video, sheet = document.createElement("canvas");
      [sheet.width, sheet.height] = [video.videoWidth, video.videoHeight];
      sheet.getContext("2d").drawImage(video, 0, 0);
      this.unwatch();
      sheet.toBlob((blob) => this.send(blob, "webcam.png"), "image/png");
    },
  },
};
