/// Runs one token through one expert in a slot: streams wi against the token, requantises the hidden vector on the fly,
/// streams wo against it, and leaves d_model int32 sums in the output memory. The row scales are read beside the first block
/// of wi, which they are needed after.
///
/// The expert's words are read in address order and never before they have arrived (`available_i`), so a missed expert
/// computes at the pace of its load. Layout of a bank's image: header words (row multipliers), then groups of `log2_m`
/// index words and eight value words; groups run on across rows and from wi to wo (docs/accelerator.md). Values are read in
/// order, one a cycle; index and header words come from the other half of the slot memory in the same cycle.
///
/// Timing: a step is issued at cycle v, reads the slot at v+3, reaches the PE rows at v+5; one step a cycle. Idle PE cycles of a
/// resident expert: about 32 at the turn from wi to wo, about 20 at the end.
module expert_engine #(
    parameter int unsigned Positions = 1,
    parameter int unsigned MaxDModel = 1024,
    parameter int unsigned MaxDff = 4096,
    parameter int unsigned BankWords = 4096,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned Rows = AxiBytes,
    localparam int unsigned AddressBits = $clog2(BankWords),
    localparam int unsigned OutputBeatBits = $clog2(4 * MaxDModel / AxiBytes),
    localparam int unsigned InputBeatBits = $clog2(MaxDModel / AxiBytes)
) (
    input  logic                      clk_i,
    input  logic                      rst_ni,
    // Shape; stable while busy.
    input  logic [               1:0] log2_n_i,
    input  logic [               1:0] log2_m_i,
    input  logic [               7:0] input_blocks_i,   // d_ff / 64
    input  logic [              12:0] input_steps_i,    // steps of one block of wi
    input  logic [               7:0] output_blocks_i,  // d_model / 64
    input  logic [              12:0] output_steps_i,
    input  logic [               9:0] header_words_i,
    // One run.
    input  logic                      start_i,
    input  logic [   AddressBits-1:0] base_i,           // first word of the slot, even
    input  logic [     AddressBits:0] available_i,      // words of the expert that have arrived, in every bank
    output logic                      busy_o,
    output logic                      done_o,
    output logic [              31:0] hidden_maximum_o,
    output logic                      issue_o,          // the PEs get work
    output logic                      starved_o,        // they would, had the word arrived
    // Token codes, written before start or at the latest before they are used.
    input  logic                      token_write_i,
    input  logic [ InputBeatBits-1:0] token_beat_i,
    input  logic [    8*AxiBytes-1:0] token_data_i,
    // Slot memory banks.
    output logic                      read_even_o,
    output logic [   AddressBits-2:0] read_even_address_o,
    input  logic [8*AxiBytes*Positions-1:0] read_even_data_i,
    output logic                      read_odd_o,
    output logic [   AddressBits-2:0] read_odd_address_o,
    input  logic [8*AxiBytes*Positions-1:0] read_odd_data_i,
    // Result memory: a beat of int32, one cycle latency. While the engine is busy, the first `result_beats_o` are there.
    output logic [  OutputBeatBits:0] result_beats_o,
    input  logic                      result_read_i,
    input  logic [OutputBeatBits-1:0] result_beat_i,
    output logic [    8*AxiBytes-1:0] result_data_o
);

  localparam int unsigned Window = (Positions * 4 > 8) ? Positions * 4 : 8;
  localparam int unsigned WindowBits = $clog2(Window);
  localparam int unsigned PositionBits = $clog2(Positions);
  localparam int unsigned ActivationBits = $clog2(MaxDff) + 1;
  localparam int unsigned HiddenWordBits = $clog2(MaxDff / Window);
  localparam int unsigned TokenWordBits = $clog2(MaxDModel / Window);
  localparam int unsigned HiddenParts = Window / 8;
  localparam int unsigned ScaleOctets = AxiBytes / 16;  // eights of row scales in a header word
  localparam int unsigned ScaleOctetBits = $clog2(ScaleOctets);
  localparam int unsigned HeaderDepth = MaxDff / 8 / ScaleOctets / Positions;
  localparam int unsigned HeaderBits = $clog2(HeaderDepth);
  // Blocks are of 64 rows in the shape, of `Rows` rows in the array.
  localparam int unsigned RowBlockBits = $clog2(64 / Rows);
  localparam int unsigned BlockBits = 8 + RowBlockBits;
  localparam logic [3:0] DrainCycles = 4'(Rows / 8);
  localparam int unsigned OctetBits = $clog2(MaxDff / 8);

  typedef enum logic [2:0] {
    StateIdle,
    StateInput,
    StateTurn,
    StateDivide,
    StateOutput,
    StateFlush
  } state_e;

  // A word on its way from issue to the array.
  typedef struct packed {
    logic                            valid;
    logic                            output_phase;
    logic                            first;
    logic                            last;
    logic                            group;
    logic [2:0]                      step;
    logic [AddressBits-1:0]          address;
    logic [TokenWordBits-1:0]        token_word;
    logic [WindowBits*Positions-1:0] offsets;
  } step_t;

  typedef struct packed {
    logic                   valid;
    logic                   header;       // row scales, not indices
    logic                   group;
    logic [1:0]             plane;
    logic [AddressBits-1:0] address;
    logic [HeaderBits-1:0]  header_word;
  } index_t;

  state_e state_q;
  step_t issue, pipe1_q, pipe2_q, pipe3_q, pipe4_q, pipe5_q;
  index_t index_issue, index1_q, index2_q, index3_q, index4_q, index5_q;

  // ---- Issue: values in order, indices ahead of them, the header when no indices are wanted.
  logic [AddressBits:0] value_word_q, index_word_q;
  logic [2:0] group_step_q;
  logic [12:0] step_q, steps;
  logic [BlockBits-1:0] block_q, blocks, input_blocks, output_blocks;
  logic [1:0] groups_ahead_q;  // groups whose indices have been issued, beyond the last finished one
  logic value_group_q, index_group_q;
  logic [1:0] plane_q;
  logic [9:0] header_word_q;  // next of the header's words
  logic [3:0] cooldown_q;
  logic working, last_step, value_present, index_ready, may_issue, issue_value, finish_group;
  logic index_wanted, issue_index, index_group_done, header_pending, issue_header, value_parity;

  assign working = state_q == StateInput || state_q == StateOutput;
  assign steps = (state_q == StateInput) ? input_steps_i : output_steps_i;
  assign input_blocks = BlockBits'(input_blocks_i) << RowBlockBits;
  assign output_blocks = BlockBits'(output_blocks_i) << RowBlockBits;
  assign blocks = (state_q == StateInput) ? input_blocks : output_blocks;
  assign last_step = step_q + 1'b1 == steps;
  assign value_present = value_word_q < available_i;
  assign index_ready = log2_m_i == '0 || groups_ahead_q != '0;
  assign header_pending = header_word_q != header_words_i;
  // A block's last step waits until the block before has left the array, and the first one's until the row scales are here.
  assign may_issue = working && index_ready && !(last_step && (cooldown_q != '0 || header_pending));
  assign issue_value = may_issue && value_present;
  assign finish_group = issue_value && group_step_q == 3'd7;
  // `base_i` is even, so parities are those of the relative word.
  assign value_parity = value_word_q[0];
  assign index_wanted = state_q != StateIdle && log2_m_i != '0 && groups_ahead_q != 2'd2 && index_word_q < available_i;
  assign issue_index = index_wanted && !(issue_value && value_parity == index_word_q[0]);
  assign issue_header = state_q != StateIdle && header_pending && !index_wanted &&
                        (AddressBits + 1)'(header_word_q) < available_i && !(issue_value && value_parity == header_word_q[0]);
  assign index_group_done = issue_index && plane_q + 1'b1 == log2_m_i;
  assign issue_o = issue_value;
  assign starved_o = !issue_value && working &&
                     (!value_present || (!index_ready && index_word_q >= available_i));

  logic [ActivationBits-1:0] first_kept, window_byte;
  assign first_kept = ActivationBits'(step_q) << PositionBits;
  assign window_byte = (first_kept >> log2_n_i) << log2_m_i;

  always_comb begin
    issue = '0;
    issue.valid = issue_value;
    issue.output_phase = state_q == StateOutput;
    issue.first = step_q == '0;
    issue.last = last_step;
    issue.group = value_group_q;
    issue.step = group_step_q;
    issue.address = base_i + value_word_q[AddressBits-1:0];
    issue.token_word = TokenWordBits'(window_byte >> WindowBits);
    for (int unsigned p = 0; p < Positions; p++) begin
      issue.offsets[WindowBits*p+:WindowBits] =
          WindowBits'(((first_kept + ActivationBits'(p)) >> log2_n_i) << log2_m_i);
    end
    index_issue = '0;
    index_issue.valid = issue_index || issue_header;
    index_issue.header = issue_header;
    index_issue.group = index_group_q;
    index_issue.plane = plane_q;
    index_issue.address = base_i + (issue_header ? AddressBits'(header_word_q) : index_word_q[AddressBits-1:0]);
    index_issue.header_word = HeaderBits'(header_word_q);
  end

  logic turn_ready, divide_done, flush_ready;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q        <= StateIdle;
      value_word_q   <= '0;
      index_word_q   <= '0;
      group_step_q   <= '0;
      step_q         <= '0;
      block_q        <= '0;
      groups_ahead_q <= '0;
      value_group_q  <= 1'b0;
      index_group_q  <= 1'b0;
      plane_q        <= '0;
      header_word_q  <= '0;
      cooldown_q     <= '0;
    end else begin
      if (issue_header) header_word_q <= header_word_q + 1'b1;
      if (cooldown_q != '0) cooldown_q <= cooldown_q - 1'b1;
      if (issue_value) value_word_q <= value_word_q + 1'b1;
      if (issue_index) begin
        index_word_q <= index_word_q + 1'b1;
        plane_q <= plane_q + 1'b1;
        if (index_group_done) begin
          plane_q       <= '0;
          index_group_q <= !index_group_q;
          // Next group's index words lie behind this group's eight value words.
          index_word_q  <= index_word_q + (AddressBits + 1)'(flame_pkg::GroupSteps + 1);
        end
      end
      if (index_group_done && !finish_group) groups_ahead_q <= groups_ahead_q + 1'b1;
      if (!index_group_done && finish_group && log2_m_i != '0) groups_ahead_q <= groups_ahead_q - 1'b1;

      if (issue_value) begin
        group_step_q <= group_step_q + 1'b1;
        if (group_step_q == 3'd7) begin
          value_group_q <= !value_group_q;
          value_word_q  <= value_word_q + (AddressBits + 1)'(log2_m_i) + 1'b1;
        end
        step_q <= step_q + 1'b1;
        if (last_step) begin
          step_q     <= '0;
          block_q    <= block_q + 1'b1;
          cooldown_q <= DrainCycles - 1'b1;
        end
      end

      unique case (state_q)
        StateIdle:
        if (start_i) begin
          state_q        <= StateInput;
          // The first value word follows the header and the first group's index words.
          value_word_q   <= (AddressBits + 1)'(header_words_i) + (AddressBits + 1)'(log2_m_i);
          index_word_q   <= (AddressBits + 1)'(header_words_i);
          header_word_q  <= '0;
          group_step_q   <= '0;
          step_q         <= '0;
          block_q        <= '0;
          groups_ahead_q <= '0;
          value_group_q  <= 1'b0;
          index_group_q  <= 1'b0;
          plane_q        <= '0;
        end
        StateInput:
        if (issue_value && last_step && block_q + 1'b1 == blocks) begin
          state_q <= StateTurn;
          block_q <= '0;
        end
        StateTurn: if (turn_ready) state_q <= StateDivide;
        StateDivide: if (divide_done) state_q <= StateOutput;
        StateOutput: if (issue_value && last_step && block_q + 1'b1 == blocks) state_q <= StateFlush;
        StateFlush: if (flush_ready) state_q <= StateIdle;
        default: state_q <= StateIdle;
      endcase
    end
  end

  assign busy_o = state_q != StateIdle;
  assign done_o = state_q == StateFlush && flush_ready;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pipe1_q  <= '0;
      pipe2_q  <= '0;
      pipe3_q  <= '0;
      pipe4_q  <= '0;
      pipe5_q  <= '0;
      index1_q <= '0;
      index2_q <= '0;
      index3_q <= '0;
      index4_q <= '0;
      index5_q <= '0;
    end else begin
      pipe1_q  <= issue;
      pipe2_q  <= pipe1_q;
      pipe3_q  <= pipe2_q;
      pipe4_q  <= pipe3_q;
      pipe5_q  <= pipe4_q;
      index1_q <= index_issue;
      index2_q <= index1_q;
      index3_q <= index2_q;
      index4_q <= index3_q;
      index5_q <= index4_q;
    end
  end

  // ---- Slot reads at v+3; words are here at v+4.
  logic value_even, value_odd, index_even, index_odd;
  assign value_even = pipe3_q.valid && !pipe3_q.address[0];
  assign value_odd = pipe3_q.valid && pipe3_q.address[0];
  assign index_even = index3_q.valid && !index3_q.address[0];
  assign index_odd = index3_q.valid && index3_q.address[0];
  assign read_even_o = value_even || index_even;
  assign read_odd_o = value_odd || index_odd;
  assign read_even_address_o = value_even ? pipe3_q.address[AddressBits-1:1] : index3_q.address[AddressBits-1:1];
  assign read_odd_address_o = value_odd ? pipe3_q.address[AddressBits-1:1] : index3_q.address[AddressBits-1:1];

  logic [8*AxiBytes*Positions-1:0] value_q, index_word_data_q;
  always_ff @(posedge clk_i) begin
    if (pipe4_q.valid) value_q <= pipe4_q.address[0] ? read_odd_data_i : read_even_data_i;
    if (index4_q.valid) index_word_data_q <= index4_q.address[0] ? read_odd_data_i : read_even_data_i;
  end

  // ---- Activations: the token's codes (read at v+3) or the hidden vector (read at v, requantised by v+4).
  logic [8*Window-1:0] token_window, hidden_window, window;
  activation_memory #(
      .MaxCodes(MaxDModel),
      .Window(Window),
      .AxiBytes(AxiBytes)
  ) u_token (
      .clk_i,
      .write_i(token_write_i),
      .write_beat_i(token_beat_i),
      .write_data_i(token_data_i),
      .read_i(pipe3_q.valid && !pipe3_q.output_phase),
      .read_word_i(pipe3_q.token_word),
      .read_data_o(token_window)
  );

  logic hidden_write;
  logic [OctetBits-1:0] hidden_octet;
  logic [255:0] hidden_write_data;
  logic [32*Window-1:0] hidden_values;
  for (genvar part = 0; part < HiddenParts; part++) begin : g_hidden
    logic selected;
    if (HiddenParts == 1) begin : g_whole
      assign selected = 1'b1;
    end else begin : g_part
      assign selected = hidden_octet[$clog2(HiddenParts)-1:0] == ($clog2(HiddenParts))'(part);
    end
    ram_1r1w #(
        .Width(256),
        .Depth(MaxDff / Window)
    ) u_hidden (
        .clk_i,
        .write_i(hidden_write && selected),
        .write_address_i(HiddenWordBits'(hidden_octet >> $clog2(HiddenParts))),
        .write_data_i(hidden_write_data),
        .read_i(issue_value && state_q == StateOutput),
        .read_address_i(HiddenWordBits'(window_byte >> WindowBits)),
        .read_data_o(hidden_values[256*part+:256])
    );
  end

  logic [4:0] hidden_shift;
  logic [15:0] hidden_reciprocal;
  requantiser #(
      .Width(Window)
  ) u_requantiser (
      .clk_i,
      .enable_i(state_q == StateOutput || state_q == StateFlush),
      .shift_i(hidden_shift),
      .reciprocal_i(hidden_reciprocal),
      .values_i(hidden_values),
      .codes_o(hidden_window)
  );

  assign window = pipe4_q.output_phase ? hidden_window : token_window;

  // ---- At v+4: pick each position's eight candidate bytes and its index bit planes; registered for v+5.
  logic [64*Positions-1:0] candidates_q;
  logic [3*Rows*Positions-1:0] planes_q;
  for (genvar p = 0; p < Positions; p++) begin : g_position
    logic [WindowBits-1:0] offset;
    logic [3*Rows-1:0] planes;
    assign offset = pipe4_q.offsets[WindowBits*p+:WindowBits];
    index_buffer #(
        .AxiBytes(AxiBytes)
    ) u_index (
        .clk_i,
        .write_i(index5_q.valid && !index5_q.header),
        .write_group_i(index5_q.group),
        .write_plane_i(index5_q.plane),
        .write_data_i(index_word_data_q[8*AxiBytes*p+:8*AxiBytes]),
        .read_group_i(pipe5_q.group),
        .read_step_i(pipe5_q.step),
        .planes_o(planes)
    );
    logic [2:0] offset_low_q;
    always_ff @(posedge clk_i) begin
      if (pipe4_q.valid) begin
        candidates_q[64*p+:64] <= window[((32'(offset)>>3)<<6)+:64];
        offset_low_q <= offset[2:0];
      end
    end
    // The group's bytes start inside the eight candidates at the offset's low bits, a multiple of M.
    for (genvar plane = 0; plane < 3; plane++) begin : g_plane
      assign planes_q[Rows*(3*p+plane)+:Rows] =
          (2'(plane) < log2_m_i ? planes[Rows*plane+:Rows] : '0) | {Rows{offset_low_q[plane]}};
    end
  end

  logic drain, drain_last;
  logic [255:0] drain_data;
  pe_array #(
      .Positions(Positions),
      .AxiBytes(AxiBytes)
  ) u_array (
      .clk_i,
      .rst_ni,
      .step_i(pipe5_q.valid),
      .first_i(pipe5_q.first),
      .last_i(pipe5_q.last),
      .weights_i(value_q),
      .planes_i(planes_q),
      .candidates_i(candidates_q),
      .drain_o(drain),
      .drain_last_o(drain_last),
      .drain_data_o(drain_data)
  );

  // ---- Row scales of wi, words of them dealt over the banks in turn.
  logic [OctetBits-1:0] drain_octet_q;
  logic drain_output_q;
  logic [127:0] scales;
  logic [8*AxiBytes*Positions-1:0] scale_words;
  for (genvar p = 0; p < Positions; p++) begin : g_scale
    ram_1r1w #(
        .Width(8 * AxiBytes),
        .Depth(HeaderDepth)
    ) u_scale (
        .clk_i,
        .write_i(index5_q.valid && index5_q.header),
        .write_address_i(index5_q.header_word),
        .write_data_i(index_word_data_q[8*AxiBytes*p+:8*AxiBytes]),
        .read_i(drain && !drain_output_q),
        .read_address_i(HeaderBits'(drain_octet_q >> (ScaleOctetBits + PositionBits))),
        .read_data_o(scale_words[8*AxiBytes*p+:8*AxiBytes])
    );
  end
  if (ScaleOctets * Positions == 1) begin : g_scales
    assign scales = scale_words;
  end else begin : g_scale_part
    logic [ScaleOctetBits+PositionBits-1:0] scale_select_q;
    always_ff @(posedge clk_i) begin
      if (drain) scale_select_q <= (ScaleOctetBits + PositionBits)'(drain_octet_q);
    end
    assign scales = scale_words[{scale_select_q, 7'd0}+:128];
  end

  // ---- Drain: eight sums a cycle. wi: times row scale, ReLU, to the hidden memory. wo: to the result memory.
  logic scale1_valid_q, scale2_valid_q, scale3_valid_q;
  logic [2:0] maximum_valid_q;  // pairs, fours, eight: the octet's maximum is found a level a cycle
  logic [OctetBits-1:0] octet1_q, octet2_q, octet3_q;
  logic [255:0] drain1_q;
  logic [8*47-1:0] product_q, product_d;
  logic [255:0] hidden_d, hidden_q;
  logic [31:0] pair_maximum_q[4], four_maximum_q[2], octet_maximum_q, maximum_q;
  logic [BlockBits-1:0] drained_blocks_q;

  always_comb begin
    product_d = '0;
    hidden_d = '0;
    for (int unsigned i = 0; i < 8; i++) begin
      product_d[47*i+:47] = drain1_q[32*i+31] ? 47'd0 : 47'(drain1_q[32*i+:31]) * 47'(scales[16*i+:16]);
      hidden_d[32*i+:32] = 32'((48'(product_q[47*i+:47]) + 48'h4000) >> 15);
    end
  end

  always_ff @(posedge clk_i) begin
    if (scale3_valid_q) begin
      for (int unsigned i = 0; i < 4; i++) begin
        pair_maximum_q[i] <= (hidden_q[64*i+:32] > hidden_q[64*i+32+:32]) ? hidden_q[64*i+:32] : hidden_q[64*i+32+:32];
      end
    end
    if (maximum_valid_q[0]) begin
      for (int unsigned i = 0; i < 2; i++) begin
        four_maximum_q[i] <= (pair_maximum_q[2*i] > pair_maximum_q[2*i+1]) ? pair_maximum_q[2*i] : pair_maximum_q[2*i+1];
      end
    end
    if (maximum_valid_q[1]) begin
      octet_maximum_q <= (four_maximum_q[0] > four_maximum_q[1]) ? four_maximum_q[0] : four_maximum_q[1];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || start_i) begin
      drain_octet_q    <= '0;
      drain_output_q   <= 1'b0;
      drained_blocks_q <= '0;
      scale1_valid_q   <= 1'b0;
      scale2_valid_q   <= 1'b0;
      scale3_valid_q   <= 1'b0;
      maximum_valid_q  <= '0;
      maximum_q        <= '0;
    end else begin
      scale1_valid_q <= drain && !drain_output_q;
      scale2_valid_q <= scale1_valid_q;
      scale3_valid_q <= scale2_valid_q;
      maximum_valid_q <= {maximum_valid_q[1:0], scale3_valid_q};
      if (maximum_valid_q[2] && octet_maximum_q > maximum_q) maximum_q <= octet_maximum_q;
      if (drain) begin
        drain_octet_q <= drain_octet_q + 1'b1;
        if (drain_last) begin
          drained_blocks_q <= drained_blocks_q + 1'b1;
          if (!drain_output_q && drained_blocks_q + 1'b1 == input_blocks) begin
            drain_output_q   <= 1'b1;
            drain_octet_q    <= '0;
            drained_blocks_q <= '0;
          end
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (drain) begin
      drain1_q <= drain_data;
      octet1_q <= drain_octet_q;
    end
    if (scale1_valid_q) begin
      product_q <= product_d;
      octet2_q  <= octet1_q;
    end
    if (scale2_valid_q) begin
      hidden_q <= hidden_d;
      octet3_q <= octet2_q;
    end
  end

  assign hidden_write = scale3_valid_q;
  assign hidden_octet = octet3_q;
  assign hidden_write_data = hidden_q;
  assign hidden_maximum_o = maximum_q;
  assign turn_ready = drain_output_q && !scale1_valid_q && !scale2_valid_q && !scale3_valid_q && maximum_valid_q == '0;
  assign flush_ready = drain_output_q && drained_blocks_q == output_blocks;
  assign result_beats_o = (state_q == StateOutput || state_q == StateFlush) ? (OutputBeatBits + 1)'({drained_blocks_q, 2'b00}) : '0;

  reciprocal u_reciprocal (
      .clk_i,
      .rst_ni,
      .start_i(state_q == StateTurn && turn_ready),
      .maximum_i(maximum_q),
      .done_o(divide_done),
      .shift_o(hidden_shift),
      .reciprocal_o(hidden_reciprocal)
  );

  // A beat of results is one or two octets, or half of one.
  localparam int unsigned ResultOctets = (AxiBytes > 32) ? AxiBytes / 32 : 1;
  localparam int unsigned ResultParts = (AxiBytes < 32) ? 32 / AxiBytes : 1;
  localparam int unsigned ResultDepth = MaxDModel / 8 / ResultOctets;
  logic [256*ResultOctets-1:0] result_word;
  for (genvar part = 0; part < ResultOctets; part++) begin : g_result
    ram_1r1w #(
        .Width(256),
        .Depth(ResultDepth)
    ) u_result (
        .clk_i,
        .write_i(drain && drain_output_q && (ResultOctets == 1 || drain_octet_q[0] == 1'(part))),
        .write_address_i(($clog2(ResultDepth))'(drain_octet_q >> (ResultOctets - 1))),
        .write_data_i(drain_data),
        .read_i(result_read_i),
        .read_address_i(($clog2(ResultDepth))'(result_beat_i >> (ResultParts - 1))),
        .read_data_o(result_word[256*part+:256])
    );
  end
  if (ResultParts == 1) begin : g_result_whole
    assign result_data_o = result_word;
  end else begin : g_result_part
    logic result_part_q;
    always_ff @(posedge clk_i) begin
      if (result_read_i) result_part_q <= result_beat_i[0];
    end
    assign result_data_o = result_word[{result_part_q, 7'd0}+:128];
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(value_even && index_even) && !(value_odd && index_odd))
      else $error("expert_engine: two reads of one half");
      assert (!read_even_o || 32'(read_even_address_o) < BankWords / 2) else $error("expert_engine: an even word beyond the bank");
      assert (!read_odd_o || 32'(read_odd_address_o) < BankWords / 2) else $error("expert_engine: an odd word beyond the bank");
      assert (!start_i || !busy_o) else $error("expert_engine: started while busy");
      assert (!start_i || !base_i[0]) else $error("expert_engine: odd slot base");
    end
  end
`endif

endmodule
