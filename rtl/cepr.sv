/// Context-based expert prediction: ranks the experts of the next MoE layer from the last `order_i` decisions of the
/// sequence, across tokens. Each sequence has its own history.
///
/// The table holds, for a layer and a context of o decisions, an entry {valid, ranked experts}; the entry's place is the
/// layer's base plus {1, context} (the leading one separates the orders). A context never seen is not valid: the unit
/// retries with o - 1, down to 0. A prediction takes two cycles an order tried.
module cepr #(
    parameter int unsigned NumSequences = 64,
    parameter int unsigned MaxOrder = 4,
    parameter int unsigned TopK = 4,
    parameter int unsigned MaxLayers = 12,
    parameter int unsigned TableAddressBits = 16,
    parameter int unsigned AxiBytes = 64,
    localparam int unsigned Words = AxiBytes / 4,
    localparam int unsigned WordBits = $clog2(Words),
    localparam int unsigned SequenceBits = $clog2(NumSequences),
    localparam int unsigned LayerBits = $clog2(MaxLayers),
    localparam int unsigned EntryBits = 1 + 4 * TopK
) (
    input  logic                        clk_i,
    input  logic                        rst_ni,
    input  logic [                 2:0] order_i,        // m, 0 .. MaxOrder
    input  logic [                 2:0] expert_bits_i,  // ceil(log2 E), 1 .. 4
    input  logic [       LayerBits-1:0] layers_i,       // L of the circular path
    // Table: 32-bit entries, as many as a beat has.
    input  logic                        write_i,
    input  logic [TableAddressBits-WordBits-1:0] write_beat_i,
    input  logic [      8*AxiBytes-1:0] write_data_i,
    // History.
    input  logic                        clear_i,
    input  logic                        copy_i,
    input  logic [    SequenceBits-1:0] copy_source_i,
    input  logic [    SequenceBits-1:0] sequence_i,
    // One decision. A prediction follows as `predict_o`, or `none_o` when even order 0 knows nothing.
    input  logic                        observe_i,
    input  logic [       LayerBits-1:0] layer_i,
    input  logic [                 3:0] expert_i,
    output logic                        ready_o,
    output logic                        predict_o,
    output logic                        none_o,
    output logic [       LayerBits-1:0] predict_layer_o,
    output logic [          4*TopK-1:0] ranked_o        // likeliest lowest
);

  localparam int unsigned HistoryBits = 4 * MaxOrder;

  typedef enum logic [1:0] {
    StateIdle,
    StateRead,
    StateCheck
  } state_e;

  logic [HistoryBits-1:0] history_q[NumSequences];
  logic [2:0] length_q[NumSequences];

  state_e state_q;
  logic [HistoryBits-1:0] context_history_q, pushed_history;
  logic [2:0] tried_q, pushed_length;
  logic [LayerBits-1:0] next_layer_q;
  logic [Words*EntryBits-1:0] write_entries, read_entries;
  logic [EntryBits-1:0] entry;
  logic [TableAddressBits-1:0] address;
  logic [WordBits-1:0] select_q;

  for (genvar i = 0; i < Words; i++) begin : g_pack
    assign write_entries[EntryBits*i+:EntryBits] = write_data_i[32*i+:EntryBits];
  end

  assign pushed_history = HistoryBits'({history_q[sequence_i], expert_i});
  assign pushed_length = (length_q[sequence_i] == 3'(MaxOrder)) ? length_q[sequence_i] : length_q[sequence_i] + 1'b1;

  // {1, last `tried_q` experts} above the layer's base.
  always_comb begin
    address = TableAddressBits'(1) << (5'(tried_q) * 5'(expert_bits_i));
    for (int unsigned i = 0; i < MaxOrder; i++) begin
      if (3'(i) < tried_q) begin
        address = address | (TableAddressBits'(context_history_q[4*i+:4]) << (5'(i) * 5'(expert_bits_i)));
      end
    end
    address = address + (TableAddressBits'(next_layer_q) << (5'(order_i) * 5'(expert_bits_i) + 5'd1));
  end

  ram_1r1w #(
      .Width(Words * EntryBits),
      .Depth(2 ** (TableAddressBits - WordBits))
  ) u_table (
      .clk_i,
      .write_i,
      .write_address_i(write_beat_i),
      .write_data_i(write_entries),
      .read_i(state_q == StateRead),
      .read_address_i(address[TableAddressBits-1:WordBits]),
      .read_data_o(read_entries)
  );

  always_comb begin
    entry = '0;
    for (int unsigned i = 0; i < Words; i++) begin
      if (select_q == WordBits'(i)) entry = read_entries[EntryBits*i+:EntryBits];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StateIdle;
      tried_q <= '0;
      context_history_q <= '0;
      next_layer_q <= '0;
      select_q <= '0;
    end else begin
      unique case (state_q)
        StateIdle:
        if (observe_i) begin
          state_q <= StateRead;
          context_history_q <= pushed_history;
          tried_q <= (pushed_length < order_i) ? pushed_length : order_i;
          next_layer_q <= (layer_i + 1'b1 == layers_i) ? '0 : layer_i + 1'b1;
        end
        StateRead: begin
          state_q  <= StateCheck;
          select_q <= address[WordBits-1:0];
        end
        StateCheck:
        if (predict_o || none_o) begin
          state_q <= StateIdle;
        end else begin
          state_q <= StateRead;
          tried_q <= tried_q - 1'b1;
        end
        default: state_q <= StateIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      for (int unsigned s = 0; s < NumSequences; s++) length_q[s] <= '0;
    end else if (clear_i) begin
      length_q[sequence_i] <= '0;
    end else if (copy_i) begin
      length_q[sequence_i]  <= length_q[copy_source_i];
      history_q[sequence_i] <= history_q[copy_source_i];
    end else if (observe_i && ready_o) begin
      length_q[sequence_i]  <= pushed_length;
      history_q[sequence_i] <= pushed_history;
    end
  end

  assign ready_o = state_q == StateIdle;
  assign predict_o = state_q == StateCheck && entry[EntryBits-1];
  assign none_o = state_q == StateCheck && !entry[EntryBits-1] && tried_q == '0;
  assign predict_layer_o = next_layer_q;
  assign ranked_o = entry[4*TopK-1:0];

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!observe_i || order_i <= 3'(MaxOrder)) else $error("cepr: order beyond MaxOrder");
      assert (!observe_i || ready_o) else $error("cepr: a decision while predicting");
    end
  end
`endif

endmodule
